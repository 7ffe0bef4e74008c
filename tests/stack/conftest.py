"""The stacks that the container tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.compose import Stack, secret_environment

# Long enough for HAProxy's check, once a second. tests/chaos has the default, under load.
QUICK_DRAIN = {"DRAIN_SECONDS": "1"}


@pytest.fixture(scope="session")
def local(tree: Path) -> Iterator[Stack]:
    """The stack as plain `docker compose up` starts it, but for a quicker end."""
    yield from Stack(tree, "local", **QUICK_DRAIN).running()


@pytest.fixture(scope="session")
def production(tree: Path) -> Iterator[Stack]:
    """The production layer, without the redirect to https, which has no certificate here."""
    stack = Stack(
        tree,
        "production",
        DJANGO_SECURE_SSL_REDIRECT="false",
        **QUICK_DRAIN,
        # All tests are one client.
        THROTTLE_ANON="100000/minute",
        **secret_environment(),
    )
    yield from stack.running()
