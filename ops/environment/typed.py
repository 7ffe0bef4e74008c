"""The environment as the settings read it: checked values by the names of the contract, typed."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, NoReturn, ParamSpec, TypeVar

from . import places
from .contract import PROJECT, VARIABLES
from .variable import Kind, Value, did_you_mean

T = TypeVar("T")
P = ParamSpec("P")

_METHODS: Final = {
    Kind.BOOL: "bool",
    Kind.INT: "int",
    Kind.PORT: "int",
    Kind.LIST: "list",
    Kind.PATH: "path",
}
# What takes the place of django-environ's other readers.
# https://django-environ.readthedocs.io/en/stable/types.html
_ELSEWHERE: Final = {
    **dict.fromkeys(("unicode", "string", "get"), "Write env.str(NAME)."),
    **dict.fromkeys(("db", "db_url"), "Write environment.database_settings(env)."),
    **dict.fromkeys(("cache", "cache_url"), "Write cache_settings(env)."),
    **dict.fromkeys(
        ("email", "email_url"), "Remove the line: the stack's settings read EMAIL_URL."
    ),
    "read_env": "Remove the line: the stack reads .env.",
    "url": "Write urlparse(env.str(NAME)).",
    "bytes": "Write env.str(NAME).encode().",
    "float": "Write float(env.str(NAME)).",
    "json": "Write json.loads(env.str(NAME)).",
    "boolean": "Write env.bool(NAME).",
    "integer": "Write env.int(NAME).",
    "tuple": "Write tuple(env.list(NAME)).",
    "dict": "Write dict(item.split('=') for item in env.list(NAME)).",
}


def _name_alone(
    method: Callable[Concatenate[Environment, P], T],
) -> Callable[Concatenate[Environment, P], T]:
    """Refuse what a reader of another library has besides the name, such as `default=`."""

    @wraps(method)
    def read(env: Environment, /, *arguments: P.args, **options: P.kwargs) -> T:
        if len(arguments) != 1 or options:
            _refuse(method.__name__, arguments)
        return method(env, *arguments, **options)

    return read


@dataclass(frozen=True, slots=True)
class Environment:
    """The checked values of one environment, by the names of the contract.

    Each method raises ImproperlyConfigured for a name that is not declared, or not of its type.
    """

    layer: builtins.str
    # True while an image is built: secrets are throw-away values, and there is no database.
    building: builtins.bool
    # Kept out of repr(), since secrets are among them.
    values: Mapping[builtins.str, Value] = field(repr=False)

    @_name_alone
    def str(self, name: builtins.str) -> builtins.str:
        """Return a text; empty when it is not set and has no default."""
        return self._typed(name, builtins.str)

    @_name_alone
    def bool(self, name: builtins.str) -> builtins.bool:
        """Return a truth value."""
        return self._typed(name, builtins.bool)

    @_name_alone
    def int(self, name: builtins.str) -> builtins.int:
        """Return a number, in the unit that its declaration says."""
        return self._typed(name, builtins.int)

    @_name_alone
    def list(self, name: builtins.str) -> builtins.list[builtins.str]:
        """Return a list of texts, a new one at each call."""
        return [*self._typed(name, tuple)]

    @_name_alone
    def path(self, name: builtins.str) -> Path:
        """Return an absolute path."""
        return self._typed(name, Path)

    def _typed(self, name: builtins.str, wanted: type[T]) -> T:
        """Return a value.

        Raises:
            ImproperlyConfigured: the name or the type is not declared.
        """
        if name not in self.values:
            step = did_you_mean(name, self.values)
            step += " Else declare" if step else "Declare"
            raise _improper(
                f"the settings read {name}, which is not declared. {step} it in "
                "mysite/environment.py (docs/your-app.md), "
                "or remove the line that reads it."
            )
        value = self.values[name]
        if type(value) is wanted or (wanted is Path and isinstance(value, Path)):
            return value  # type: ignore[return-value]
        raise _improper(
            f"the settings read {name} as {wanted.__name__.lower()}, and it is declared as "
            f"{VARIABLES[name].kind}. Write {_call(name)} here, or change the declaration."
        )

    if not TYPE_CHECKING:
        # Type checkers report these mistakes by themselves.

        def __call__(self, *arguments: Any, **options: Any) -> NoReturn:
            """Refuse `env("NAME")`."""
            _refuse("", arguments)

        def __getitem__(self, name: Any) -> NoReturn:
            """Refuse `env["NAME"]`."""
            _refuse("", (name,))

        def __getattr__(self, name: builtins.str) -> NoReturn:
            """Refuse a reader that there is not; Python's own protocols get an AttributeError."""
            if name.startswith("_"):
                raise AttributeError(name)
            raise _improper(_unknown(name))


def _call(name: str, method: str = "str") -> str:
    if name in VARIABLES:
        method = _METHODS.get(VARIABLES[name].kind, "str")
    return f'env.{method}("{name}")'


def _refuse(method: str, arguments: tuple[object, ...]) -> NoReturn:
    """Raise ImproperlyConfigured for a call with more than a name.

    Args:
        method: the method that was called; empty: the environment itself.
        arguments: what it was called with; any but the first may be a secret.
    """
    name = arguments[0] if arguments and isinstance(arguments[0], str) else "NAME"
    problem = f"env.{method}() takes a name and nothing else"
    if not method:
        problem = "env is read by its methods"
    step = f"Write {_call(name, method or 'str')}"
    if name not in VARIABLES or name in {variable.name for variable in PROJECT}:
        step += (
            "; its default, type and choices belong to its Variable(...) in "
            "mysite/environment.py (docs/your-app.md)"
        )
    raise _improper(f"{problem}. {step}.")


def _unknown(method: str) -> str:
    methods = ("str", "bool", "int", "list", "path")
    suggestion = did_you_mean(method, methods) or f"It has {', '.join(methods)}."
    return f"env has no {method!r}. {_ELSEWHERE.get(method, suggestion)}"


def _improper(message: str) -> Exception:
    # Imported here: `./manage.py env` answers without Django.
    from django.core.exceptions import ImproperlyConfigured

    return ImproperlyConfigured(f"{places.caller(__file__)}: {message}")
