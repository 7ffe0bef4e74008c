"""`stackctl backup`: where to, which ones stay, and what is noted of it."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

from ..common import process
from ..common.console import Console
from ..common.faults import ExitCode, StackctlError, from_system
from ..common.interrupt import handling
from ..docker import compose, lock
from ..remote import place as places
from ..remote import record
from ..remote.restic import Restic
from . import backup as saving
from . import backup_files as files
from . import remote_backup, stack

# A week, less than what a timer's random delay takes off it.
VERIFY_SECONDS = 6.5 * 86_400


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    # Load the backup and compare.
    verify: bool = False
    # A place instead of BACKUP_TO; or the folder backups/ in spite of it.
    to: str = ""
    local: bool = False
    # How many stay; 0 is BACKUP_KEEP.
    keep: int = 0
    # As a timer runs it: quiet, verified once a week, failures noted for the worker.
    scheduled: bool = False


def backup(console: Console, options: Options) -> dict[str, Any]:
    """Save the database and the files.

    Raises:
        StackctlError: they could not be saved whole, in the place where they should be.
    """
    project = stack.load()
    console.quiet = options.scheduled and not console.live
    try:
        with _ended_by_signals():
            return _backup(project, console, options)
    except (StackctlError, OSError) as raised:
        error = from_system(raised) if isinstance(raised, OSError) else raised
        if options.scheduled:
            # An engine that does not answer is the error, not its consequence.
            with suppress(StackctlError):
                record.note_failure(project, error)
        raise error from None


def _backup(project: compose.Project, console: Console, options: Options) -> dict[str, Any]:
    place = None if options.local else places.read(options.to)
    keep = options.keep or int(places.setting("BACKUP_KEEP") or 0)
    # One in backups/ by hand has no schedule.
    noted = options.scheduled or bool(place and not options.to)
    known = record.read(project) if noted else {}
    verify = options.verify or (options.scheduled and _is_due(known))
    if place is None:
        with lock.held(project, "backup"):
            path, manifest = saving.save(project, console, verify=verify)
            if keep:
                _forget(project, keep, console)
        where, name = str(path.parent.relative_to(process.ROOT)), path.name
        result = {"path": str(path), **asdict(manifest)}
    else:
        create = bool(options.to) or known.get("place") != place.name
        result = remote_backup.save(project, place, console, verify=verify, create=create)
        where, name = place.name, str(result["name"])
        result["path"] = f"{where}#{name}"
        if keep:
            with console.step(f"removing all but the latest {keep} backups"):
                remote_backup.forget(Restic(project, place), keep)
    if noted:
        record.note_success(project, where, name, verified=verify, scheduled=options.scheduled)
    added = f", {int(result['new_bytes']) / 1e6:.1f} MB of it new" if "new_bytes" in result else ""
    console.good(f"saved {where}/{name}" if place is None else f"saved {name} in {where}{added}")
    return {**result, "place": where, "code": int(ExitCode.OK)}


def _is_due(known: dict[str, Any]) -> bool:
    """Return whether no backup was verified for a week."""
    return time.time() - float(known.get("verified") or 0) > VERIFY_SECONDS


def _forget(project: compose.Project, keep: int, console: Console) -> None:
    """Remove all but the latest backups in backups/; what a restore replaced stays."""
    complete = sorted(
        path.parent
        for path in files.folder(project.name).glob(f"*/{files.MANIFEST}")
        if files.NAME.fullmatch(path.parent.name)
    )
    for path in complete[: -max(keep, 1)]:
        shutil.rmtree(path)
        console.say(f"removed {path.relative_to(process.ROOT)}")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C, without leaving a part of a backup behind."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with handling((signal.SIGTERM, signal.SIGHUP), end):
        yield
