"""The dev layer from the start: a new database, migrated by several at once, then the site."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.stack.compose import Stack, secret_environment


@pytest.fixture(scope="module")
def dev(tree: Path) -> Iterator[Stack]:
    """The dev layer; of it, only an empty database runs."""
    stack = Stack(tree, "dev", DRAIN_SECONDS="0", **secret_environment())
    stack.down(volumes=True)
    try:
        stack.compose("build", "--quiet", "env-check")
        stack.compose("up", "--detach", "--wait", "db")
        yield stack
    finally:
        stack.down(volumes=True)


def migrate(stack: Stack) -> str:
    """Run one migration process and return what it printed."""
    return stack.compose("run", "--rm", "--no-deps", "migrate").stdout


def test_of_migrations_at_once_one_does_the_work(dev: Stack) -> None:
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: migrate(dev), range(3)))

    assert sum("Applying api.0001" in run for run in runs) == 1
    assert sum("No migrations to apply" in run for run in runs) == 2
    assert sum("another process holds the lock" in run for run in runs) >= 1


def test_dev_layer_runs_with_debug(dev: Stack) -> None:
    dev.up()

    profile = dev.get("/profile/").json()
    assert (profile["settings"], profile["debug"]) == ("dev", True)
