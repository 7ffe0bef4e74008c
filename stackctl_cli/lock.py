"""One change at a time: a lock file in the project's own folder, freed however its holder ends."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from . import process
from .faults import StackctlError


def folder(project: str) -> Path:
    """Return the folder in which stackctl keeps what it must remember of a project."""
    path = process.ROOT / "var" / "stackctl" / project
    path.mkdir(parents=True, exist_ok=True)
    return path


def who() -> str:
    """Return user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def now() -> str:
    """Return the present time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def held(project: str, command: str) -> Iterator[None]:
    """Hold the project's lock while the block runs.

    Raises:
        StackctlError: another command holds it; the message says which, whose and since when.
    """
    path = folder(project) / "lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackctlError(
                f"`stackctl {command}` was refused: {_holder(path)}",
                "Wait until it has ended; `./stackctl status` shows what it does.",
            ) from None
        file.truncate(0)
        file.write(
            json.dumps({"command": command, "who": who(), "since": now(), "pid": os.getpid()})
        )
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def holder(project: str) -> str:
    """Return who holds the lock, in words; empty when it is free.

    Looking needs no right to take it: another user of this machine may ask for the status.
    """
    path = folder(project) / "lock"
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(path)
    except FileNotFoundError:
        pass
    return ""


def _holder(path: Path) -> str:
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        return (
            f"`stackctl {entry['command']}` of {entry['who']} is running since {entry['since']} "
            f"(process {entry['pid']})"
        )
    except (OSError, ValueError, KeyError):
        return "another stackctl command is running"
