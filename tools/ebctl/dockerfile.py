"""What Elastic Beanstalk reads in a Dockerfile: the lines as written; nothing is built."""

from __future__ import annotations

import re
from collections.abc import Iterator

COMMENT = re.compile(r"^\s*#")


def instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line number, the name in capitals and the arguments of each instruction."""
    start, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        if COMMENT.match(line) or (not line.strip() and not parts):
            continue
        start = start if parts else number
        parts.append(line.rstrip().removesuffix("\\").strip())
        if line.rstrip().endswith("\\"):
            continue
        name, _, arguments = " ".join(parts).strip().partition(" ")
        yield start, name.upper(), arguments.strip()
        parts.clear()


def exposed(text: str) -> list[int]:
    """Return the ports that EXPOSE lines name by number; a variable there does not count."""
    return [
        int(match[1])
        for _, name, arguments in instructions(text)
        if name == "EXPOSE"
        for word in arguments.split()
        if (match := re.fullmatch(r"(\d{1,5})(?:/tcp)?", word))
    ]


def copied(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and each source that COPY and ADD take from the bundle."""
    for number, name, arguments in instructions(text):
        words = arguments.split()
        flags = [word for word in words if word.startswith("--")]
        paths = [word for word in words if not word.startswith("--")]
        if name not in ("COPY", "ADD") or any(flag.startswith("--from=") for flag in flags):
            continue
        for path in paths[:-1]:
            if not path.startswith(("http://", "https://", "<<", "[")):
                yield number, path
