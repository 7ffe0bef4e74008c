"""Secrets from files: X_FILE names the file that holds X, as docker secrets do.

In docker compose's containers the service env-check puts them into MOUNTED (secret_files.py).

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
MOUNTED: Final = Path("/run/secrets")
# No secret is larger, nor a cloud's bundle of authorities (170 KB); a path such as /dev/zero must
# not fill the memory.
_LARGEST: Final = 512 * 1024


def text_of(variable: Variable, environ: Mapping[str, str]) -> str | Fault:
    """Return a variable's text from the environment or its file; empty when it is not set."""
    direct = environ.get(variable.name, "")
    name = variable.name + SUFFIX
    path = ROOT / environ.get(name, "") if variable.secret else ROOT
    if path == ROOT and is_mounted(variable):
        path = MOUNTED / variable.name
    if path == ROOT:
        return direct
    # The sample is docker-compose.yaml's own default.
    if direct and direct != variable.sample:
        return Fault(name, f"{variable.name} is set too", "Set one of the two.")
    try:
        return content(path)
    except InvalidValueError as error:
        return Fault(name, error.problem, error.hint)


def is_mounted(variable: Variable) -> bool:
    """Return whether a container has the secret's file; Compose mounts /dev/null for none."""
    path = MOUNTED / variable.name
    return variable.secret and path.exists() and not path.is_char_device()


def is_unreadable(variable: Variable, environ: Mapping[str, str]) -> bool:
    """Return whether a secret is in a file that another user than this one may read."""
    name = environ.get(variable.name + SUFFIX, "") if variable.secret else ""
    if not name:
        return False
    try:
        with (ROOT / name).open("rb"):
            return False
    except PermissionError:
        return True
    except OSError:
        return False


def content(path: Path) -> str:
    """Return the secret in a file, without the line end that editors put there.

    Raises:
        InvalidValueError: the file is unreadable, too large, empty or not UTF-8.
    """
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
