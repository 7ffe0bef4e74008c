"""Time limits of statements are for requests and tasks: management commands have none."""

import sys
from collections.abc import Sequence
from pathlib import Path

from django.db import DEFAULT_DB_ALIAS, connections

from ops.environment import without_time_limits

PROGRAMS = {"manage.py", "django-admin"}
# The commands that serve requests or run tasks.
LIMITED = {"run", "runserver", "test", "worker"}


def lift_in_commands(argv: Sequence[str] | None = None) -> None:
    """Take the time limits away if this process runs a management command, such as `shell`."""
    program, command = [*(argv or sys.argv), ""][:2]
    if Path(program).name in PROGRAMS and command not in LIMITED:
        settings = connections.settings[DEFAULT_DB_ALIAS]
        settings.update(without_time_limits(settings))
