"""The production stack with the load tests' app, shared by all scenarios."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.load import Load, mixed_clients
from tests.chaos.reliability import Figures, put_into
from tests.stack.compose import STACK_NAME, Stack, secret_environment

READ_KEYS = """
import json
import django
django.setup()
from loadtest.models import Order
print(json.dumps(list(Order.objects.values_list("key", flat=True))))
"""


FIGURES = pytest.StashKey[Figures]()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """What each scenario counted; `make chaos` puts it into the documentation."""
    return pytestconfig.stash.setdefault(FIGURES, Figures())


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Put the figures into the documentation, if all scenarios ran and held."""
    config = session.config
    document = config.getoption("--reliability")
    if not document or FIGURES not in config.stash:
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    assert isinstance(reporter, pytest.TerminalReporter)
    if exitstatus or reporter.stats.get("deselected"):
        reporter.write_line(
            f"\n{document} keeps its figures: not every scenario ran and held", yellow=True
        )
    else:
        put_into(document, config.stash[FIGURES].table())


# Shorter than the default, so that the tests need not wait for an hour.
VISIBILITY_SECONDS = 90


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
        # All visitors come from one address, or are one user.
        THROTTLE_ANON="off",
        THROTTLE_USER="off",
        TASK_VISIBILITY_SECONDS=str(VISIBILITY_SECONDS),
        **secret_environment(),
    )
    stack.project = f"{STACK_NAME}-chaos-production"
    yield from stack.running()


@pytest.fixture(scope="session")
def static(loaded: Stack) -> str:
    """The path of a hashed static file."""
    found = re.search(r'href="(/static/[^"]+)"', loaded.get("/status/").text)
    assert found
    return found[1]


@pytest.fixture
def load(loaded: Stack, static: str) -> Load:
    """The usual mix of 32 clients."""
    return Load(loaded.http_port, mixed_clients(static))


def check_nothing_lost(load: Load, stack: Stack) -> None:
    """Every request was answered as it should, and every acknowledged write is there once."""
    assert not load.failed, load.summary()
    check_writes(load, stack)


def check_writes(load: Load, stack: Stack) -> None:
    """Every acknowledged write is there; none is there twice."""
    rows = written(stack)
    assert len(rows) == len(set(rows))
    assert load.acknowledged() <= set(rows)


def written(stack: Stack) -> list[str]:
    """Return the keys of all rows."""
    return json.loads(stack.python_in("server1", READ_KEYS))
