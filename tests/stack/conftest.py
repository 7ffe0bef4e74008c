"""The stacks that the container tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.compose import Stack, secret_environment


@pytest.fixture(scope="session")
def local(tree: Path) -> Iterator[Stack]:
    """The stack as plain `docker compose up` starts it."""
    yield from Stack(tree, "local").running()


@pytest.fixture(scope="session")
def production(tree: Path) -> Iterator[Stack]:
    """The production layer, without the redirect to https, which has no certificate here."""
    stack = Stack(
        tree,
        "production",
        DJANGO_SECURE_SSL_REDIRECT="false",
        # All tests are one client.
        THROTTLE_ANON="100000/minute",
        **secret_environment(),
    )
    yield from stack.running()
