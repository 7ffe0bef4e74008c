"""What a variable of the environment is: its declaration, and how its text becomes a value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from .fault import InvalidValueError

# The project's root: relative paths in the environment start here.
ROOT: Final = Path(__file__).resolve().parents[2]

# `test` is the unit tests' own layer: no images, no .env, nothing required.
LAYERS: Final = ("local", "dev", "production", "test")

# The layers that other people reach: no secret has a default there.
SHARED: Final = frozenset({"dev", "production"})

# Environment variables cannot hold lists, so a comma separates the items.
SEPARATOR: Final = ","

_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})

Value = str | bool | int | tuple[str, ...] | Path | None


class Kind(StrEnum):
    """The types that a variable can have."""

    TEXT = "text"
    BOOL = "true or false"
    INT = "number"
    PORT = "port"
    CHOICE = "choice"
    LIST = "list"
    PATH = "path"
    URL = "URL"
    DATABASE_URL = "database URL"


class Scope(StrEnum):
    """Who reads a variable."""

    DJANGO = "django"  # the application, in each of its servers
    STACK = "stack"  # docker compose and HAProxy; never passed to the application's servers


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """The declaration of one variable."""

    name: str
    kind: Kind = Kind.TEXT
    help: str
    # Written as it would be in the environment; an empty text is the same as no default.
    default: str = ""
    # What differs from `default` in some layers.
    layer_defaults: Mapping[str, str] = field(default_factory=dict)
    required_in: frozenset[str] = frozenset()
    secret: bool = False
    # A secret of the stack's own, which `env init` makes up; another one only a person can know.
    generated: bool = False
    # The value that the local layer uses for a secret; a fault everywhere else.
    sample: str = ""
    choices: tuple[str, ...] = ()
    # Other spellings of a choice.
    aliases: Mapping[str, str] = field(default_factory=dict)
    minimum: int | None = None
    maximum: int | None = None
    scope: Scope = Scope.DJANGO
    # False for what must never be in `.env`.
    in_dotenv: bool = True
    # A further check of one text (each item, for a list); raises InvalidValueError.
    validate: Callable[[str], None] | None = None

    def default_in(self, layer: str) -> str:
        """Return this variable's default text in a layer."""
        return self.layer_defaults.get(layer, self.default)

    def parse(self, text: str) -> Value:
        """Turn the text into a value of this variable's kind.

        Raises:
            InvalidValueError: it is not of that kind, out of range, or `validate` refuses it.
        """
        return _PARSERS[self.kind](self, text)


@dataclass(frozen=True, slots=True)
class Section:
    """Variables that belong together."""

    title: str
    about: str
    variables: tuple[Variable, ...]


def is_true(text: str) -> bool:
    """Return whether a text is one of the words for true."""
    return text.strip().casefold() in _TRUE


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """Return a question naming the closest name, or nothing when none is close."""
    by_folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(text.casefold(), by_folded, n=1)
    return f"Did you mean {by_folded[close[0]]}?" if close else ""


def _text(variable: Variable, text: str) -> str:
    value = _stripped(variable, text)
    _validate(variable, value)
    return value


def _validate(variable: Variable, value: str) -> None:
    try:
        if variable.validate is not None:
            variable.validate(value)
    except InvalidValueError:
        raise
    except Exception as error:
        # Not its text, in which the value may be.
        raise InvalidValueError(
            f"its validate() raises {type(error).__name__}",
            "Let it raise InvalidValueError(problem, hint) for a wrong value (docs/your-app.md).",
        ) from error


def _stripped(variable: Variable, text: str) -> str:
    # A secret is kept as it is; elsewhere, space around a value is never meant.
    value = text if variable.secret else text.strip()
    if not variable.secret and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        raise InvalidValueError(
            "the quotes are part of the value",
            "Remove them: docker's --env-file and Elastic Beanstalk keep quotes as they are.",
        )
    return value


def _bool(variable: Variable, text: str) -> bool:
    word = _text(variable, text).casefold()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    suggestion = did_you_mean(word, ("true", "false"))
    raise InvalidValueError(
        f"{text!r} is neither true nor false", f"{suggestion} Use true or false.".strip()
    )


def _int(variable: Variable, text: str) -> int:
    word = _text(variable, text)
    # int() would also take 1_000, +5 and digits of other scripts, which no other reader of the
    # same variable (uWSGI, docker compose, HAProxy) does; a shell reads 010 as 8.
    if not re.fullmatch(r"0|-?[1-9][0-9]*", word):
        raise InvalidValueError(f"{text!r} is not a whole number", _range(variable))
    number = int(word)
    low, high = _bounds(variable)
    if (low is not None and number < low) or (high is not None and number > high):
        raise InvalidValueError(f"{number} is out of range", _range(variable))
    return number


def _bounds(variable: Variable) -> tuple[int | None, int | None]:
    if variable.kind is Kind.PORT:
        return variable.minimum or 1, variable.maximum or 65535
    return variable.minimum, variable.maximum


def _range(variable: Variable) -> str:
    low, high = _bounds(variable)
    if low is not None and high is not None:
        return f"Use a whole number from {low} to {high}."
    if low is not None:
        return f"Use a whole number of at least {low}."
    return "Use a whole number."


def _choice(variable: Variable, text: str) -> str:
    word = _text(variable, text)
    word = variable.aliases.get(word, word)
    if word in variable.choices:
        return word
    suggestion = did_you_mean(word, variable.choices)
    allowed = ", ".join(variable.choices)
    raise InvalidValueError(
        f"{text!r} is not one of its values", f"{suggestion} Use one of: {allowed}.".strip()
    )


def _list(variable: Variable, text: str) -> tuple[str, ...]:
    words = (word.strip() for word in _stripped(variable, text).split(SEPARATOR))
    items = tuple(word for word in words if word)
    for item in items:
        _text(variable, item)
        if variable.choices and item not in variable.choices:
            suggestion = did_you_mean(item, variable.choices)
            allowed = ", ".join(variable.choices)
            raise InvalidValueError(
                f"{item!r} is not one of its items", f"{suggestion} Use any of: {allowed}.".strip()
            )
    return items


def _path(variable: Variable, text: str) -> Path:
    return ROOT / _text(variable, text)


_PARSERS: Final[Mapping[Kind, Callable[[Variable, str], Value]]] = {
    Kind.TEXT: _text,
    Kind.BOOL: _bool,
    Kind.INT: _int,
    Kind.PORT: _int,
    Kind.CHOICE: _choice,
    Kind.LIST: _list,
    Kind.PATH: _path,
    Kind.URL: _text,
    Kind.DATABASE_URL: _text,
}
