"""Reads what other programs print, and checks that it is what was expected."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .faults import StackctlError


@contextmanager
def read(program: str, remedy: str = "") -> Iterator[None]:
    """Read a program's output in the block, which may find another one than it expects.

    Raises:
        StackctlError: it is another one. It is not shown, since secrets may be in it.
    """
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StackctlError(
            f"`{program}` printed output that stackctl cannot parse "
            f"({type(error).__name__}: {str(error)[:80]})",
            remedy or f"Run it by hand: does it print warnings, or is it another version? {DOCTOR}",
        ) from None


DOCTOR = "`./stackctl doctor` checks the installed ones."


def mapping(text: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ValueError: it is no JSON.
        TypeError: it is JSON of another type.
    """
    parsed = json.loads(text)
    if not isinstance(parsed, dict):
        raise TypeError(f"{type(parsed).__name__} where an object belongs")
    return parsed


def mark() -> str:
    """Return what a script puts before its answer, and no other line can begin with."""
    return f"answer-{secrets.token_hex(8)}:"


def marked(text: str, before: str) -> Any:
    """Return the answer of a script that was given the mark `before`.

    Raises:
        ValueError: there is none, or only its beginning.
    """
    for line in text.splitlines():
        if line.startswith(before):
            return json.loads(line.removeprefix(before))
    raise ValueError("no answer in its output")


def strings(parsed: object) -> tuple[str, ...]:
    """Return a list of strings.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(parsed, list) or not all(isinstance(text, str) for text in parsed):
        raise TypeError("no list of strings where one belongs")
    return tuple(parsed)


def fields(text: str) -> dict[str, Any]:
    """Return a JSON object's fields; none where the text is something else."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
