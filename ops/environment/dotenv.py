r"""Reads `.env`: only lines that mean the same to docker compose, to a shell and to us.

A `.env` has three readers: docker compose, a shell (`set -a; . ./.env`) and this project. Their
rules differ in `$`, backslashes, spaces and comments, and no library agrees with both others:
python-dotenv expands `${X}` even in single quotes and halves backslashes there, django-environ cuts
`a#b` and knows no comment after a quoted value. So the file is kept to what all three read alike,
and everything else is a fault that names the line:

    NAME=plain          no space, quote, $, `, \, ~, ;, &, |, <, >, ( or )
    NAME='anything'     but no ' and no \ at the end
    NAME="it's"         with \" \\ \$ for these three characters; no `
    # a comment, alone or after a value and a space

https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/V3_chap02.html#tag_18_02
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .fault import Fault

_NAME: Final = re.compile(r"(?:export )?([A-Za-z_][A-Za-z0-9_]*)=")
# Control characters, the tab among them, are read differently in too many places.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN: Final = re.compile(r"""(?P<value>[^\s'"$`\\~;&|<>()]*)""")
_SINGLE: Final = re.compile(r"'(?P<value>(?:[^']*[^'\\])?)'")
_DOUBLE: Final = re.compile(r'"(?P<value>(?:[^"$`\\]|\\["\\$])*)"')
_REST: Final = re.compile(r" *(?: #.*)?")
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class DotEnv:
    """What a `.env` says, and what in it could not be read."""

    values: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    # Lines that are allowed, but hardly meant.
    warnings: tuple[Fault, ...] = ()
    # The variables of lines whose value is a fault.
    unreadable: frozenset[str] = frozenset()


def read(path: Path) -> DotEnv:
    """Read a `.env`; a file that does not exist is an empty one."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return DotEnv()
    except UnicodeDecodeError:
        return DotEnv(faults=(Fault(path.name, "it is not UTF-8 text", "Save it as UTF-8."),))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = "Let this user read it, or set DJANGO_READ_DOTENV=false."
        return DotEnv(faults=(Fault(path.name, f"it cannot be read: {reason}", hint),))
    return parse(text, path.name)


def parse(text: str, name: str = ".env") -> DotEnv:
    """Read the text of a `.env`; of two lines with the same name the later counts."""
    if text.startswith("\ufeff"):
        hint = "Save it as UTF-8 without a byte order mark."
        return DotEnv(faults=(Fault(f"{name} line 1", "it starts with a byte order mark", hint),))
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    faults: list[Fault] = []
    warnings: list[Fault] = []
    unreadable: set[str] = set()
    # Not splitlines(), which also ends lines at characters that no other reader ends them at.
    for number, line in enumerate(text.split("\n"), start=1):
        where = f"{name} line {number}"
        if not line.strip(" ") or line.lstrip(" ").startswith("#"):
            continue
        assignment = _assignment(line, where)
        if isinstance(assignment, Fault):
            faults.append(assignment)
            if start := _NAME.match(line):
                unreadable.add(start[1])
            continue
        key, value = assignment
        if key in lines:
            problem = f"{key} was already set in line {lines[key]}; this line counts"
            warnings.append(Fault(where, problem, "Keep one of them."))
        values[key] = value
        lines[key] = number
    return DotEnv(values, tuple(faults), tuple(warnings), frozenset(unreadable))


def _assignment(line: str, where: str) -> tuple[str, str] | Fault:
    """Read one line; the fault never repeats the line, which may hold a secret."""
    if line.endswith("\r"):
        return Fault(where, "it ends with a carriage return", "Save the file with Unix line ends.")
    start = _NAME.match(line)
    if start is None:
        return Fault(where, "it is not NAME=value", "Write NAME=value, with no space around the =.")
    name = start[1]
    written = line[start.end() :]
    pattern = {"'": _SINGLE, '"': _DOUBLE}.get(written[:1], _PLAIN)
    match = pattern.match(written)
    # `NAME= # comment` has the comment for its value in docker compose.
    comment_alone = written.lstrip(" ").startswith("#") and written.startswith(" ")
    if (
        match is None
        or comment_alone
        or _CONTROL.search(line)
        or not _REST.fullmatch(written, match.end())
    ):
        return Fault(
            where,
            f"the value of {name} is read differently by docker compose, a shell and Django",
            f"Put it in single quotes, on one line: {name}='...' (with a ' inside: in double "
            r"quotes, with \" \\ \$ for these characters).",
        )
    value = match["value"]
    return name, _ESCAPED.sub(r"\1", value) if pattern is _DOUBLE else value


def write(value: str) -> str:
    """Return a value quoted for `.env`.

    Raises:
        ValueError: no quoting can hold it.
    """
    forms = (value, f"'{value}'", '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"')
    for form in forms:
        parsed = parse(f"X={form}")
        if not parsed.faults and parsed.values.get("X") == value:
            return form
    raise ValueError("a value with these characters cannot be written into a .env")
