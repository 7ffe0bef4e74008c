"""The machine's journal, which has the stack's logs with LOG_DRIVER=journald."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from ..common import outputs, process
from ..common.faults import StackctlError
from . import compose

DRIVER: Final = "journald"
# Where Docker sends lines.
SOCKET: Final = "/run/systemd/journal/socket"
# A journal may have gigabytes.
READ_SECONDS = 600.0
# As Docker names the labels in variants/logs/journald.yaml.
PROJECT: Final = "COM_DOCKER_COMPOSE_PROJECT"
SERVICE: Final = "COM_DOCKER_COMPOSE_SERVICE"
# Docker splits lines of more than 16 KB.
LINE: Final = "CONTAINER_PARTIAL_ID"
PART: Final = "CONTAINER_PARTIAL_ORDINAL"
FIELDS: Final = ("MESSAGE", "CONTAINER_NAME", "SYSLOG_TIMESTAMP", LINE, PART)

Entry = dict[str, Any]


def has_logs_of(project: compose.Project) -> bool:
    """Return whether the stack's containers write to the journal."""
    service = project.services[compose.BALANCER]
    return bool((service.get("logging") or {}).get("driver") == DRIVER)


def answers() -> bool:
    """Return whether systemd-journald receives logs on this machine."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        return client.connect_ex(SOCKET) == 0


def matching(
    project: compose.Project, text: str, since: str, services: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield time, container and text of the stack's lines that have a text, in any case.

    Args:
        project: the stack.
        text: letters, digits and hyphens.
        since: a time or a duration as `docker logs` takes it; empty for all that the journal has.
        services: those to read; none for all.

    Raises:
        StackctlError: journalctl is missing, cannot read the journal, or refuses `since`.
    """
    where = [f"{PROJECT}={project.name}", *(f"{SERVICE}={name}" for name in services)]
    limit = [f"--since={_time(since)}"] if since else []
    entries = _read("--case-sensitive=no", f"--grep={text}", *limit, *where)
    parts = {str(entry[LINE]) for entry in entries if LINE in entry}
    whole = [entry for entry in entries if LINE not in entry]
    if parts:
        whole += _joined(_read(where[0], *(f"{LINE}={line}" for line in sorted(parts))))
    for entry in whole:
        container = str(entry["CONTAINER_NAME"]).removeprefix(f"{project.name}-")
        yield str(entry["SYSLOG_TIMESTAMP"]), container, _text(entry["MESSAGE"])


def _read(*arguments: str) -> list[Entry]:
    result = process.run(
        *("journalctl", "--system", "--quiet", "--no-pager", "--all", "--output=json"),
        f"--output-fields={','.join(FIELDS)}",
        *arguments,
        seconds=READ_SECONDS,
    )
    # Without an entry that matches, the exit code is 1 and there are no words.
    if not result.ok and result.err.strip():
        raise _refused(result.err.strip().splitlines()[-1])
    with outputs.read("journalctl"):
        return [json.loads(line) for line in result.out.splitlines()]


def _refused(words: str) -> StackctlError:
    if "permission" in words.lower():
        hint = (
            "sudo usermod --append --groups systemd-journal $USER, then log in again: only root "
            "and this group may read the journal."
        )
    else:
        hint = "--since takes a time (2030-01-01T12:00:00Z) or a duration (10m)."
    return StackctlError(f"journalctl: {words}", hint)


def _joined(entries: list[Entry]) -> list[Entry]:
    """Return one entry for all parts of a line, which has the time of the first."""
    lines: dict[str, list[Entry]] = {}
    for entry in entries:
        lines.setdefault(str(entry[LINE]), []).append(entry)
    result = []
    for line in lines.values():
        line.sort(key=lambda entry: int(entry[PART]))
        result.append({**line[0], "MESSAGE": "".join(_text(entry["MESSAGE"]) for entry in line)})
    return result


def _text(message: str | list[int]) -> str:
    """Return a message; with control characters, journalctl prints it as a list of bytes."""
    return message if isinstance(message, str) else bytes(message).decode(errors="replace")


def _time(since: str) -> str:
    """Return for journalctl what `docker logs --since` takes: a Unix time, a date, a duration."""
    if re.fullmatch(r"\d+(\.\d+)?", since):
        return f"@{since}"
    with suppress(ValueError):
        return f"@{datetime.fromisoformat(since).timestamp():f}"
    return f"-{since}"
