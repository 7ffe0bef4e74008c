"""What is known of option settings: options.yaml, and a value checked by it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("options.yaml")


@dataclass(frozen=True)
class Option:
    """One option: the values it takes, and who else sets it."""

    values: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    range: tuple[int, int] | None = None
    pattern: str = ""
    say: str = ""
    document: bool = False
    secret: bool = False
    # What `eb create` sets where no saved configuration is used.
    client: str = ""
    # The option of `eb create` that sets it in any case.
    always: str = ""

    def problem(self, text: str) -> str:
        """Return what is wrong with a value, or nothing."""
        if self.values and text not in self.values:
            return f"{text!r} is none of {', '.join(self.values)}"
        if self.numbers and text not in map(str, self.numbers):
            return f"{text!r} is none of {', '.join(map(str, self.numbers))}"
        if self.range and not within(text, *self.range):
            return f"{text!r} is not a number from {self.range[0]} to {self.range[1]}"
        if self.pattern and not re.fullmatch(self.pattern, text):
            return f"{text!r} is not {self.say}"
        return ""


def within(text: str, minimum: int, maximum: int) -> bool:
    """Return whether a text is a number from `minimum` to `maximum`, both included."""
    return bool(re.fullmatch(r"-?\d+", text)) and minimum <= int(text) <= maximum


# None where any name is an option.
Namespace = dict[str, Option] | None


@cache
def namespaces() -> dict[str, Namespace]:
    """Return every known namespace with its options; `*` is a name of the user's own."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {
        name: None
        if options == "any"
        else {key: option_of(described) for key, described in options.items()}
        for name, options in content.items()
    }


def option_of(described: Any) -> Option:
    """Return an option from its line of the file."""
    if described == "json":
        return Option(document=True)
    if described == "text":
        return Option()
    if isinstance(described, list):
        return Option(values=tuple(map(str, described)))
    fields = dict(described)
    for name in ("values", "numbers", "range"):
        if name in fields:
            fields[name] = tuple(fields[name])
    return Option(**fields)


def find(name: str) -> tuple[bool, Namespace]:
    """Return whether a namespace is known, and its options."""
    known = namespaces()
    if name in known and "*" not in name:
        return True, known[name]
    for pattern, options in known.items():
        if "*" in pattern and fnmatchcase(name, pattern) and ":" not in name[len(pattern) - 1 :]:
            return True, options
    return False, None
