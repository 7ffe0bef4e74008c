"""`dbshell` opens the client of the stack's own database, or of the server that the site uses."""

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from tools.stackctl.commands import backup, dbshell, stack
from tools.stackctl.common.console import Console
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.inside import databases


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a stack with a database and a server; `ran` has the commands and their passwords."""
    ran: list[tuple[list[str], str]] = []
    given = {"DB_HOST": "db"}
    project = SimpleNamespace(
        servers=["server1"],
        given=given,
        password="it's",
        ran=ran,
        environment=lambda _: given,
        containers=lambda: {"server1": SimpleNamespace(id="the-server", running=True)},
    )

    project.secret = lambda _: project.password

    def run(command: Any, *, env: dict[str, str], check: bool) -> SimpleNamespace:
        ran.append(([*command], env["DB_PASSWORD"]))
        return SimpleNamespace(returncode=7)

    monkeypatch.setattr(stack, "load", lambda: project)
    monkeypatch.setattr(backup, "running_database", lambda _: "the-database")
    monkeypatch.setattr(backup, "own_database", lambda _: databases.SERVERS[0])
    monkeypatch.setattr(subprocess, "run", run)
    return project


@pytest.mark.parametrize(("admin", "role"), [(True, "admin"), (False, "application")])
def test_dbshell_opens_the_client_in_the_database_container(
    site: SimpleNamespace, admin: bool, role: str
) -> None:
    result = dbshell.dbshell(Console(), admin=admin)

    assert result == {"code": 7}
    ((command, password),) = site.ran
    assert command[:3] == ["docker", "exec", "-i"]
    assert command[3:6] == ["--env", "DB_PASSWORD", "the-database"]
    assert command[-3:] == ["shell", "", role]
    assert password == "it's" and "it's" not in command


def test_dbshell_leaves_a_password_that_root_alone_can_read_to_the_container(
    site: SimpleNamespace,
) -> None:
    site.password = ""
    dbshell.dbshell(Console(), admin=False)
    assert "--env" not in site.ran[0][0]


def test_dbshell_of_another_server_runs_in_a_server(site: SimpleNamespace) -> None:
    site.given["DB_HOST"] = "db.example.com"

    dbshell.dbshell(Console(), admin=False)

    command = site.ran[0][0]
    assert command[-4:] == ["the-server", "python", "manage.py", "dbshell"]
    with pytest.raises(StackctlError, match="no administrator"):
        dbshell.dbshell(Console(), admin=True)


def test_dbshell_needs_a_running_server_for_another_database(site: SimpleNamespace) -> None:
    site.given["DATABASE_URL"] = "x"
    site.containers = dict
    with pytest.raises(StackctlError, match="no server is running"):
        dbshell.dbshell(Console(), admin=False)
