"""The record of releases: one JSON line for each attempt, never changed afterwards."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from . import lock


class Outcome(StrEnum):
    """How an attempt ended."""

    OK = "ok"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    FOUND = "found"  # it ran before there was a record of it


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
        """Tell whether the release was in service after this."""
        return self.outcome in (Outcome.OK, Outcome.FOUND)


def path_of(project: str) -> Path:
    """Return the record's file."""
    return lock.folder(project) / "releases.jsonl"


def append(project: str, entry: Entry) -> None:
    """Add a line, whole and on the disk, or not at all.

    Raises:
        OSError: it cannot be written; the file is what it was.
    """
    line = json.dumps(asdict(entry)) + "\n"
    with path_of(project).open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        # A crash may have left the last line without its end.
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            line = f"\n{line}"
        rest = memoryview(line.encode())
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


def read(project: str) -> list[Entry]:
    """Return all entries, the oldest first; a line cut off by a crash is left out."""
    path = path_of(project)
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return entries


def releases(project: str) -> list[str]:
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
