"""A systemd timer that makes a backup each night.

https://www.freedesktop.org/software/systemd/man/latest/systemd.timer.html
"""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path
from typing import Any, Final

from ..common import process
from ..common.console import Console
from ..common.faults import ExitCode, StackctlError
from ..remote import place as places
from . import stack

UNITS: Final = Path("/etc/systemd/system")
# It exists where systemd runs the machine.
RUNNING: Final = Path("/run/systemd/system")
# In the default time zone of the machine, at a random minute of the hour after it.
HOUR: Final = "03:00"

_SERVICE = """\
# Written by `stackctl backup --install-timer`: docs/backups.md.
[Unit]
Description=Backup of {name}
Wants=network-online.target
After=network-online.target docker.service

[Service]
Type=oneshot
User={user}
WorkingDirectory={root}
Environment=LAYER={layer}
ExecStart={root}/stackctl --project-name {name} backup --scheduled
# The first upload may take hours.
TimeoutStartSec=infinity
TimeoutStopSec=60
Nice=10
"""
_TIMER = """\
# Written by `stackctl backup --install-timer`: docs/backups.md.
[Unit]
Description=Backup of {name}, each night

[Timer]
OnCalendar=*-*-* {hour}
RandomizedDelaySec=1h
# After a night in which the machine was off, at its next start.
Persistent=true

[Install]
WantedBy=timers.target
"""


def units(name: str, layer: str, user: str, root: str) -> dict[str, str]:
    """Return the units' texts by file name.

    Args:
        name: the stack's.
        layer: its layer.
        user: who runs it.
        root: the clone's folder.

    Raises:
        StackctlError: the folder's name has characters that units would read otherwise.
    """
    if not re.fullmatch(r"[\w./@+-]+", root):
        raise StackctlError(
            f"the folder {root} has characters that systemd's units give a meaning to",
            "Move it to /srv/mysite or similar, then run ./stackctl adopt there.",
        )
    values = {"name": name, "layer": layer, "user": user, "root": root, "hour": HOUR}
    return {
        f"{name}-backup.service": _SERVICE.format(**values),
        f"{name}-backup.timer": _TIMER.format(**values),
    }


def install(console: Console) -> dict[str, Any]:
    """Write the units, and start the timer.

    Raises:
        StackctlError: systemd does not run this machine, or this user may not.
    """
    project = stack.load()
    if not RUNNING.is_dir():
        raise StackctlError(
            "systemd does not run this machine",
            "Put BACKUP=1 into .env for a service in its place (docs/backups.md), or let cron run "
            f"each night: cd {process.ROOT} && ./stackctl backup --scheduled",
        )
    texts = units(project.name, project.layer, _user(), str(process.ROOT))
    if os.geteuid():
        raise StackctlError(
            f"only root may write to {UNITS}", "sudo ./stackctl backup --install-timer"
        )
    place = places.read()
    for name, text in texts.items():
        (UNITS / name).write_text(text, encoding="utf-8")
        console.say(f"wrote {UNITS / name}")
    timer = f"{project.name}-backup.timer"
    for command in (("daemon-reload",), ("enable", "--now", timer)):
        result = process.run("systemctl", *command)
        if not result.ok:
            raise StackctlError(
                f"systemctl {' '.join(command)}: {result.text()}", f"systemctl status {timer}"
            )
    if place is None:
        console.warn("BACKUP_TO is not set: a backup in backups/ is lost with this machine's disk")
    if not int(places.setting("BACKUP_KEEP") or 0):
        console.warn("BACKUP_KEEP is 0: all backups stay; BACKUP_KEEP=14 in .env keeps 14")
    console.good(f"{timer} makes a backup each night; now: systemctl start {project.name}-backup")
    return {"timer": timer, "units": sorted(texts), "code": int(ExitCode.OK)}


def _user() -> str:
    """Return who owns the clone: the one who runs stackctl by hand."""
    return pwd.getpwuid(process.ROOT.stat().st_uid).pw_name
