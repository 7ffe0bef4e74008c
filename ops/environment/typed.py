"""The environment as the settings read it: checked values by the names of the contract, typed."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .contract import VARIABLES
from .variable import Value

T = TypeVar("T")


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

    def str(self, name: builtins.str) -> builtins.str:
        """Return a text; empty when it is not set and has no default."""
        return self._typed(name, builtins.str)

    def bool(self, name: builtins.str) -> builtins.bool:
        """Return a truth value."""
        return self._typed(name, builtins.bool)

    def int(self, name: builtins.str) -> builtins.int:
        """Return a number, in the unit that its declaration says."""
        return self._typed(name, builtins.int)

    def list(self, name: builtins.str) -> builtins.list[builtins.str]:
        """Return a list of texts, a new one at each call."""
        return [*self._typed(name, tuple)]

    def path(self, name: builtins.str) -> Path:
        """Return an absolute path."""
        return self._typed(name, Path)

    def _typed(self, name: builtins.str, wanted: type[T]) -> T:
        """Return a value.

        Raises:
            ImproperlyConfigured: the name or the type is not declared.
        """
        if name not in self.values:
            raise _improper(
                f"the settings read {name}, which is not declared. Declare it in "
                "mysite/environment.py (docs/your-app.md), "
                "or remove the line that reads it."
            )
        value = self.values[name]
        if type(value) is wanted or (wanted is Path and isinstance(value, Path)):
            return value  # type: ignore[return-value]
        raise _improper(
            f"the settings read {name} as {wanted.__name__.lower()}, and it is declared as "
            f"{VARIABLES[name].kind}. Change one of the two."
        )


def _improper(message: str) -> Exception:
    # Imported here: `./manage.py env` answers without Django.
    from django.core.exceptions import ImproperlyConfigured

    return ImproperlyConfigured(message)
