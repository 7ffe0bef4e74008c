"""Changes values in `.env` atomically; other lines, owner and mode stay."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ops.environment import dotenv

from ..common import process
from ..common.faults import StackctlError

_ASSIGNMENT = re.compile(r"(?:export )?([A-Za-z_][A-Za-z0-9_]*)=")


def update(values: Mapping[str, str]) -> None:
    """Set variables; of several lines for one of them the first is kept.

    Raises:
        StackctlError: a value cannot be written.
        OSError: the file cannot be written; it is what it was.
    """
    path = (process.ROOT / ".env").resolve()
    left = dict(values)
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]:
        match = _ASSIGNMENT.match(line)
        if match is None or match[1] not in values:
            lines.append(line)
        elif match[1] in left:
            lines.append(_line(match[1], left.pop(match[1])))
    end = len(lines) - 1 if lines[-1] == "" else len(lines)
    lines[end:] = [*(_line(name, value) for name, value in left.items()), ""]
    text = "\n".join(lines)
    new = path.with_name(".env.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if path.exists():
                before = path.stat()
                os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, before.st_mode & 0o7777)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _line(name: str, value: str) -> str:
    try:
        return f"{name}={dotenv.write(value)}"
    except ValueError:
        raise StackctlError(f"the value of {name} cannot be written to .env") from None
