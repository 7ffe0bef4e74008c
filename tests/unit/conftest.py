"""What all unit tests share."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper

from tests.ports import free_port

# What lets a test use the settings' database.
ASKS_FOR_ONE = {"db", "transactional_db", "django_db_setup"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a database: tests/stack runs them on MySQL and PostgreSQL as well."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if item.get_closest_marker("django_db") or names & ASKS_FOR_ONE:
            item.add_marker("database")


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Let each test look for itself, whatever the one before has found."""
    from api import servers, status

    servers.RECENT.forget()
    status.HEALTH.forget()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DatabaseWrapper]:
    """Return a fresh SQLite database in a file."""
    settings = {**connections.settings["default"], "NAME": str(tmp_path / "db.sqlite3")}
    wrapper = DatabaseWrapper(settings)
    with closing(wrapper):
        yield wrapper


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Return the address of an S3 server."""
    # A second of imports, for those alone who ask for it.
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
