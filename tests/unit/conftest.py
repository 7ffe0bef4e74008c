"""What all unit tests share."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper


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
