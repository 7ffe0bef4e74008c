"""The production stack with the load tests' app, shared by all scenarios."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.load import Load, mixed_clients
from tests.stack.compose import STACK_NAME, Stack, secret_environment

READ_KEYS = """
import json
import django
django.setup()
from loadtest.models import Order
print(json.dumps(list(Order.objects.values_list("key", flat=True))))
"""


@pytest.fixture(scope="session")
def loaded(tree: Path) -> Iterator[Stack]:
    """A production stack that answers the load tests' requests."""
    stack = Stack(
        tree,
        "production",
        DJANGO_SECURE_SSL_REDIRECT="false",
        COMPOSE_FILE="docker-compose.yaml:tests/chaos/compose.yaml",
        # Images of its own, since deploys move their names.
        STACK_NAME=f"{STACK_NAME}-chaos",
        **secret_environment(),
    )
    stack.project = f"{STACK_NAME}-chaos-production"
    yield from stack.running()


@pytest.fixture(scope="session")
def static(loaded: Stack) -> str:
    """The path of a hashed static file."""
    found = re.search(r'href="(/static/[^"]+)"', loaded.get("/").text)
    assert found
    return found[1]


@pytest.fixture
def load(loaded: Stack, static: str) -> Load:
    """The usual mix of 32 clients."""
    return Load(loaded.http_port, mixed_clients(static))


def written(stack: Stack) -> list[str]:
    """Return the keys of all rows."""
    return json.loads(stack.python_in("server1", READ_KEYS))
