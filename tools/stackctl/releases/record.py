"""The record of releases: a JSON line when an attempt begins, and one when it ends."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from ..docker import lock
from ..docker.compose import Project


class Outcome(StrEnum):
    """How an attempt ended."""

    STARTED = "started"  # it runs, or stackctl was killed in the middle of it
    OK = "ok"
    UNCHANGED = "unchanged"  # everything ran it already
    ROLLED_BACK = "rolled back"
    NOT_ROLLED_BACK = "not rolled back"
    FAILED = "failed"  # before any server was touched
    INTERRUPTED = "interrupted"


# The action of a release that was started without stackctl, and what records wrote before.
COMPOSE_UP = "compose"
_FORMER_COMPOSE_UP = "found"
# Begins the action of a rotation of secrets, which leaves the release as it is.
ROTATE = "rotate"
# The action that brings a changed `.env` to the servers, which leaves it too.
APPLY = "apply"
UNFINISHED = (Outcome.STARTED, Outcome.INTERRUPTED, Outcome.NOT_ROLLED_BACK)
# Those that may leave a server out of service.
CUT_OFF = (Outcome.STARTED, Outcome.NOT_ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt to bring a release into service."""

    time: str
    action: str
    release: str
    image: str
    outcome: str
    who: str
    seconds: float = 0.0
    note: str = ""

    @property
    def served(self) -> bool:
        """Return whether the release was in service after this."""
        return self.outcome == Outcome.OK

    @property
    def unfinished(self) -> bool:
        """Return whether the attempt did not reach an end, so that servers may differ."""
        return self.outcome in UNFINISHED

    @property
    def cut_off(self) -> bool:
        """Return whether the attempt may have left a server out of service."""
        return self.outcome in CUT_OFF


def append(project: Project, entry: Entry) -> None:
    """Add a line, whole or not at all.

    Raises:
        StackctlError: it cannot be written; the record is as it was.
    """
    lock.write_record(project, f"{lock.read_record(project)}{json.dumps(asdict(entry))}\n")


def read(project: Project) -> list[Entry]:
    """Return one entry for each attempt, the oldest first; a line cut off by a crash is left out.

    An attempt without a line for its end stays `started`.
    """
    entries: list[Entry] = []
    for line in lock.read_record(project).splitlines():
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if entry.action == _FORMER_COMPOSE_UP:
            entry = replace(entry, action=COMPOSE_UP, outcome=Outcome.OK)
        if entries and _ends(entry, entries[-1]):
            entries.pop()
        if entry.outcome != Outcome.UNCHANGED:
            entries.append(entry)
    return entries


def _ends(entry: Entry, last: Entry) -> bool:
    """Return whether an entry is the end of the attempt that the last one began."""
    same = (entry.action, entry.release) == (last.action, last.release)
    return same and last.outcome == Outcome.STARTED != entry.outcome


def unfinished(project: Project) -> Entry | None:
    """Return the latest attempt, of those that may have touched a server, if it did not end."""
    entries = [entry for entry in read(project) if entry.outcome != Outcome.FAILED]
    return entries[-1] if entries and entries[-1].unfinished else None


def releases(project: Project) -> list[str]:
    """Return the releases that were in service, each once, the latest first."""
    served = [entry.release for entry in reversed(read(project)) if entry.served]
    return list(dict.fromkeys(served))


def past(entries: list[Entry]) -> list[str]:
    """Return the releases that led to the present one, which is the last.

    A rollback forgets what came after the release that it went to.
    """
    steps: list[str] = []
    for entry in entries:
        if not entry.served:
            continue
        if entry.action == "rollback" and entry.release in steps:
            while steps[-1] != entry.release:
                steps.pop()
        elif steps[-1:] != [entry.release]:
            steps.append(entry.release)
    return steps
