"""The database's own client, in a terminal: as the application's user, or as the administrator."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from ..common.console import Console
from ..common.faults import StackctlError
from ..docker import compose
from ..inside.passwords import DB
from . import backup, stack


def dbshell(console: Console, *, admin: bool) -> dict[str, Any]:
    """Open the client until its user leaves it; SQL can come from standard input too.

    Raises:
        StackctlError: the database is not running, or another server has no administrator here.
    """
    project = stack.load()
    command = _command(project, admin=admin, terminal=sys.stdin.isatty())
    # Named by --env, so that no list of processes shows it.
    environ = {**os.environ, DB.variable: project.secret(DB.variable)}
    return {"code": subprocess.run(command, env=environ, check=False).returncode}  # noqa: S603


def _command(project: compose.Project, *, admin: bool, terminal: bool) -> Sequence[str]:
    """Return the command for the stack's own database, or for the server that the site uses."""
    how = ("docker", "exec", "-it" if terminal else "-i")
    if DB.is_own(project):
        container = backup.running_database(project)
        script = backup.own_database(project).command(container, "shell", "", _role(admin))
        # That of the container is the one of its start, before a `rotate`.
        given = ("--env", DB.variable) if project.secret(DB.variable) else ()
        return (*how, *given, *script[script.index(container) :])
    if admin:
        raise StackctlError(
            "the database is not this stack's, so stackctl knows no administrator there",
            "Sign in with the server's own tools (docs/databases.md).",
        )
    for name, server in project.containers().items():
        if name in project.servers and server.running:
            return (*how, server.id, "python", "manage.py", "dbshell")
    raise StackctlError("no server is running", "Start the stack: ./stackctl up")


def _role(admin: bool) -> str:
    return "admin" if admin else "application"
