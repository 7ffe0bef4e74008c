"""When a backup was good, and why the latest one was not: a file in the stack's volume.

The worker reads it (ops/backups.py): its metrics have the times, and it mails failures to ADMINS.
The file is stored whole or not at all, without the stack's lock, which another command may hold.
"""

from __future__ import annotations

import json
import time
from typing import Any

from ..common.faults import StackctlError
from ..docker import compose, lock

NAME = "backup.json"


def read(project: compose.Project) -> dict[str, Any]:
    """Return what is known; nothing where no backup was made."""
    try:
        known = json.loads(lock.read_file(project, NAME) or "{}")
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def write(project: compose.Project, **news: object) -> None:
    """Add what is new.

    Raises:
        StackctlError: it cannot be written.
    """
    known = {**read(project), **news}
    lock.write_file(project, NAME, json.dumps(known))


def note_success(
    project: compose.Project, place: str, name: str, *, verified: bool, scheduled: bool
) -> None:
    """Note a good backup.

    Args:
        project: the stack.
        place: BACKUP_TO.
        name: the backup's name.
        verified: whether it was loaded, and compared.
        scheduled: whether a timer made it.

    Raises:
        StackctlError: as `write`.
    """
    now = time.time()
    news: dict[str, object] = {"place": place, "name": name, "succeeded": now, "problem": ""}
    news |= {"verified": now} if verified else {}
    write(project, **news, **({"scheduled": True} if scheduled else {}))


def note_failure(project: compose.Project, error: StackctlError) -> None:
    """Note why there is no backup.

    Raises:
        StackctlError: as `write`.
    """
    write(project, failed=time.time(), problem=error.problem, next=error.hint, scheduled=True)
