"""A container's log for a person: JSON lines in words, and each traceback once."""

from __future__ import annotations

from collections.abc import Iterator

from ..common.outputs import fields

TRACEBACK = "Traceback (most recent call last):"


def readable(log: str, count: int) -> str:
    """Return the last lines without JSON, and before them the last traceback if it is earlier.

    What went well is left out. Django's log has a traceback in two lines, uWSGI's once a start.

    Args:
        log: the log.
        count: how many lines at most, an earlier traceback not counted.
    """
    seen: set[str] = set()
    parts: list[list[str]] = []
    for entry in reversed(list(_entries(log))):
        values = fields(entry) if entry.startswith("{") else {}
        traceback = str(values.get("exception") or "").strip() if values else entry
        if TRACEBACK not in traceback or traceback not in seen:
            seen.add(traceback)
            parts.append([*_words(values), *traceback.splitlines()])
    lines: list[str] = []
    start = end = 0
    for part in reversed(parts):
        if TRACEBACK in part:
            start, end = len(lines), len(lines) + len(part)
        lines += part
    first = max(0, len(lines) - count)
    if end and start < first:
        gap = ["..."] if end < first else []
        return "\n".join([*lines[start:end], *gap, *lines[max(end, first) :]])
    return "\n".join(lines[first:])


def raised(log: str) -> str:
    """Return the last exception of a readable log in one line; nothing where there is none."""
    tracebacks = [entry for entry in _entries(log) if entry.startswith(TRACEBACK)]
    return tracebacks[-1].splitlines()[-1].strip() if tracebacks else ""


def _words(values: dict[str, object]) -> list[str]:
    """Return what a JSON line says, unless it says that all is well."""
    if not values:
        return []
    if values.get("server") == "nginx":
        failed = str(values.get("status")) >= "400"
        said = f"nginx: {values.get('method')} {values.get('path')}: {values.get('status')}"
        return [said] if failed else []
    if values.get("level") in ("debug", "info"):
        return []
    request = f" ({values['request']})" if "request" in values else ""
    return [f"{values.get('level')}: {values.get('event')}{request}"]


def _entries(log: str) -> Iterator[str]:
    """Yield the lines; those of a traceback, up to its exception, as one."""
    traceback: list[str] = []
    for line in log.splitlines():
        if traceback or line.startswith(TRACEBACK):
            traceback.append(line)
            if len(traceback) > 1 and line and not line[0].isspace():
                yield "\n".join(traceback)
                traceback = []
        else:
            yield line
    if traceback:
        yield "\n".join(traceback)
