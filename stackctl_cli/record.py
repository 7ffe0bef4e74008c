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
    """Add a line, whole and on the disk, or not at all."""
    line = json.dumps(asdict(entry)) + "\n"
    descriptor = os.open(path_of(project), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
