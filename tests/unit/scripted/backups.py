"""Steps of `stackctl backup` and `restore`, and a stack with a backup."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scripted.data import LIVE
from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import Ended, Stack
from tools.stackctl.commands import backup_files as files
from tools.stackctl.commands.backup_files import DATABASE, MANIFEST

# A place for backups.
DISK = "/mnt/disk"
PASSWORD = "correct horse"
SAVED = ["database dump", "database extras", "save media"]
VERIFIED = [
    *("database prepare stackctl_verify", "database load stackctl_verify"),
    *("database dump stackctl_verify", "database extras", "database inventory"),
    *("database inventory stackctl_verify", "database remove stackctl_verify"),
]
LOADED = ["database prepare stackctl_restore", "database load stackctl_restore", "unpack media"]
SWITCHED = ["database switch stackctl_restore", "switch media"]
DISCARDED = ["database remove stackctl_restore", "discard media"]


def folders(stack: Stack) -> list[Path]:
    """Return the backups of the stack, the oldest first."""
    top = stack.root / "backups" / NAME
    return sorted(top.iterdir()) if top.exists() else []


def save(stack: Stack, *options: str) -> Ended:
    return stack.run("backup", "--json", *options)


def stop(stack: Stack) -> None:
    for name in ("server1", "server2", "worker"):
        stack.containers[name].status = "exited"


@pytest.fixture
def saved(stack: Stack) -> Stack:
    """Return a stopped stack with a backup, whose data has changed since."""
    assert save(stack).code == 0
    stack.data.rows[LIVE] = ["b.png"]
    stack.data.media = {"b.png": b"B"}
    stop(stack)
    return stack


def restore(stack: Stack, *options: str) -> Ended:
    return stack.run("restore", folders(stack)[0].name, "--json", *options)


def is_restored(stack: Stack) -> bool:
    return stack.data.rows == {LIVE: ["a.png"]} and stack.data.media == {"a.png": b"A"}


def is_unchanged(stack: Stack) -> bool:
    return stack.data.rows[LIVE] == ["b.png"] and stack.data.media == {"b.png": b"B"}


def rewritten(**changes: object) -> Callable[[Stack, Path], object]:
    """Return a function that changes the manifest of a backup."""

    def change(_: Stack, path: Path) -> None:
        manifest = json.loads((path / MANIFEST).read_text())
        (path / MANIFEST).write_text(json.dumps({**manifest, **changes}))

    return change


def replace_dump(stack: Stack, dump: bytes) -> None:
    """Replace the compressed dump of the only backup, with a valid checksum."""
    (path,) = folders(stack)
    (path / DATABASE).write_bytes(dump)
    parts: dict[str, Any] = json.loads((path / MANIFEST).read_text())["parts"]
    parts[DATABASE]["sha256"] = files.sha256_of(path / DATABASE)
    rewritten(parts=parts)(stack, path)


def write_place(stack: Stack, *lines: str, to: str = DISK) -> None:
    """Write `.env` with a place for backups."""
    given = ("LAYER=local", f"BACKUP_TO={to}", f"BACKUP_PASSWORD='{PASSWORD}'", *lines, "")
    (stack.root / ".env").write_text("\n".join(given))


@pytest.fixture
def away(stack: Stack) -> Stack:
    """Return a stack whose backups go to a disk."""
    (stack.root / "variants/backup").mkdir(parents=True)
    (stack.root / "variants/backup/Dockerfile").touch()
    write_place(stack)
    return stack


def names(stack: Stack, place: str = DISK) -> list[str]:
    """Return the names of the backups in a place."""
    return [one.tag for one in stack.places.repositories[place].snapshots]
