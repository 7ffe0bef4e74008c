"""Whether the backups that a timer makes are good."""

from __future__ import annotations

import time
from typing import Final

from ..docker import compose
from ..remote import record
from .check import Check

# As ops/backups.py has it.
OVERDUE_HOURS: Final = 26


def examine(project: compose.Project) -> list[Check]:
    """Return when the last scheduled backup was good; nothing where none is scheduled."""
    known = record.read(project)
    if not known.get("scheduled"):
        return []
    succeeded, failed = (float(known.get(key) or 0) for key in ("succeeded", "failed"))
    if failed > succeeded:
        return [Check("backup", problem=str(known.get("problem")), hint=str(known.get("next")))]
    hours = (time.time() - succeeded) / 3600
    if hours > OVERDUE_HOURS:
        hint = "Does its timer run? systemctl list-timers; docs/backups.md"
        return [Check("backup", problem=f"the last good one is {hours:.0f} hours old", hint=hint)]
    return [Check("backup", f"{known.get('name')} in {known.get('place')}")]
