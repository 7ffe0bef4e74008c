"""Secrets from files: X_FILE names the file that holds X, as docker secrets do.

django-environ's FileAwareEnv has this too, but keeps the newline that most editors and `echo` put
at the end, lets the file silently win when both are set, and takes an empty file for a value.
https://docs.docker.com/compose/how-tos/use-secrets/
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .fault import Fault, InvalidValueError
from .variable import ROOT, Variable

SUFFIX: Final = "_FILE"
# No secret is larger; a path such as /dev/zero must not fill the memory.
_LARGEST: Final = 64 * 1024


def text_of(variable: Variable, environ: Mapping[str, str]) -> str | Fault:
    """Return a variable's text from the environment or its file; empty when it is not set."""
    direct = environ.get(variable.name, "")
    name = variable.name + SUFFIX
    path = environ.get(name, "") if variable.secret else ""
    if not path:
        return direct
    if direct:
        return Fault(name, f"{variable.name} is set too", "Set one of the two.")
    try:
        return _content(ROOT / path)
    except InvalidValueError as error:
        return Fault(name, error.problem, error.cure)


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidValueError(
            f"{path} cannot be read: {reason}", "Check the path and its permissions."
        ) from None
    if len(raw) > _LARGEST:
        raise InvalidValueError(f"{path} is too large for a secret", "Check the path.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidValueError(f"{path} is not UTF-8 text", "Check the path.") from None
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise InvalidValueError(f"{path} is empty", "Write the secret into it.")
    return value
