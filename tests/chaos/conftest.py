"""The production stack with the app of the load tests, shared by all scenarios."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.load import Load, mixed_clients
from tests.chaos.reliability import Figures, write_table
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
    """Collect the figures of each scenario; `make chaos` writes them to docs/reliability.md."""
    return pytestconfig.stash.setdefault(FIGURES, Figures())


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the figures to the document if all scenarios ran and passed."""
    config = session.config
    document = config.getoption("--reliability")
    if not document or FIGURES not in config.stash:
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    assert isinstance(reporter, pytest.TerminalReporter)
    if exitstatus or reporter.stats.get("deselected"):
        reporter.write_line(
            f"\n{document} keeps its figures: not every scenario ran and passed", yellow=True
        )
    else:
        write_table(document, config.stash[FIGURES].table())


# Shorter than the default of an hour.
VISIBILITY_SECONDS = 90


@pytest.fixture(scope="session")
def loaded(tree: Path) -> Iterator[Stack]:
    """Start a production stack with the app of the load tests."""
    stack = Stack(
        tree,
        "production",
        DJANGO_SECURE_SSL_REDIRECT="false",
        COMPOSE_FILE="docker-compose.yaml:tests/chaos/compose.yaml",
        # Own images, since deploys move their tags.
        STACK_NAME=f"{STACK_NAME}-chaos",
        # All clients share one address and one user.
        THROTTLE_ANON="off",
        THROTTLE_USER="off",
        TASK_VISIBILITY_SECONDS=str(VISIBILITY_SECONDS),
        **secret_environment(),
    )
    stack.project = f"{STACK_NAME}-chaos-production"
    yield from stack.running()


@pytest.fixture(scope="session")
def static(loaded: Stack) -> str:
    """Return the path of a static file with a hashed filename."""
    match = re.search(r'href="(/static/[^"]+)"', loaded.get("/status/").text)
    assert match
    return match[1]


@pytest.fixture
def load(loaded: Stack, static: str) -> Load:
    """Return the default load of 32 mixed clients."""
    return Load(loaded.http_port, mixed_clients(static))


def check_nothing_lost(load: Load, stack: Stack) -> None:
    """Assert that no request failed and every acknowledged write is in the database once."""
    assert not load.failed, load.summary()
    check_writes(load, stack)


def check_writes(load: Load, stack: Stack) -> None:
    """Assert that every acknowledged write is in the database exactly once."""
    rows = written_keys(stack)
    assert len(rows) == len(set(rows))
    assert load.acknowledged() <= set(rows)


def written_keys(stack: Stack) -> list[str]:
    """Return the keys of all rows in the database."""
    return json.loads(stack.python_in("server1", READ_KEYS))
