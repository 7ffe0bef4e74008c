"""Statements of requests and tasks have time limits, those of management commands have none."""

from typing import Any

import pytest
from django.db import connections

from ops.database import limits

OPTIONS = {"read_timeout": 10, "write_timeout": 10, "options": "-c x=1", "connect_timeout": 2}


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Have a database with time limits; return what a new connection of any thread gets."""
    settings = {"OPTIONS": dict(OPTIONS)}
    monkeypatch.setattr(connections, "settings", {"default": settings})
    return settings


@pytest.mark.parametrize(
    "argv",
    [["./manage.py", "shell"], ["/srv/project/manage.py", "import_shops", "--all"], ["manage.py"]],
)
def test_management_command_has_no_time_limit(options: dict[str, Any], argv: list[str]) -> None:
    limits.lift_in_commands(argv)
    assert options["OPTIONS"] == {"connect_timeout": 2}


@pytest.mark.parametrize(
    "argv",
    [
        ["uwsgi"],
        ["/opt/venv/bin/gunicorn", "shell"],
        ["manage.py", "worker"],
        ["./manage.py", "runserver", "8000"],
        ["manage.py", "run"],
        ["manage.py", "test"],
    ],
)
def test_server_and_worker_keep_their_time_limits(options: dict[str, Any], argv: list[str]) -> None:
    limits.lift_in_commands(argv)
    assert options["OPTIONS"] == OPTIONS
