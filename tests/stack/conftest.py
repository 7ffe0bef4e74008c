"""The stacks that the container tests share, and what happens where no engine answers."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.compose import STACK_NAME, Stack, docker, secret_environment
from tests.tree import copy_tree

HERE = Path(__file__).parent
ENGINE_HELP = (
    "no Docker Engine answers (`docker info` and `docker compose version`). Install Docker Engine "
    "25 or newer with Compose 2.30 or newer, start it, then run: make test"
)


def engine_answers() -> bool:
    """Tell whether containers can be run here."""
    try:
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            subprocess.run(command, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the container tests out where there is no engine, unless they are required."""
    ours = [item for item in items if HERE in item.path.parents]
    if not ours or engine_answers():
        return
    if os.environ.get("REQUIRE_STACK_TESTS"):
        pytest.exit(f"REQUIRE_STACK_TESTS is set, but {ENGINE_HELP}", returncode=1)
    for item in ours:
        item.add_marker(pytest.mark.skip(reason=ENGINE_HELP))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was left out, and how to get it."""
    left_out = [
        report
        for report in terminalreporter.getreports("skipped")
        if ENGINE_HELP in str(report.longrepr)
    ]
    if left_out:
        terminalreporter.write_line(
            f"LEFT OUT: {len(left_out)} container tests, because {ENGINE_HELP}", yellow=True
        )


def pytest_sessionfinish() -> None:
    """Remove the tests' images; what they were built from stays in the engine's build cache."""
    if engine_answers():
        images = docker("image", "ls", "--quiet", f"{STACK_NAME}-*").split()
        if images:
            docker("image", "rm", "--force", *sorted(set(images)))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone, which a test may edit."""
    clone = copy_tree(tmp_path_factory.mktemp("clone"))
    # The local layer mounts it into containers, whose user is not the one who runs the tests.
    for folder in (clone, *clone.parents[:2]):
        folder.chmod(0o755)
    return clone


@pytest.fixture(scope="session")
def local(tree: Path) -> Iterator[Stack]:
    """The stack as plain `docker compose up` starts it."""
    yield from running(Stack(tree, "local"))


@pytest.fixture(scope="session")
def production(tree: Path) -> Iterator[Stack]:
    """The production layer, without the redirect to https, which has no certificate here."""
    yield from running(
        Stack(tree, "production", DJANGO_SECURE_SSL_REDIRECT="false", **secret_environment())
    )


def running(stack: Stack) -> Iterator[Stack]:
    """Start a stack on empty volumes; clear everything away at the end."""
    stack.down(volumes=True)
    try:
        stack.up()
        yield stack
    finally:
        stack.down(volumes=True)
