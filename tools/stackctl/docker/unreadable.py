"""Why compose cannot read the project, and what to do."""

from __future__ import annotations

import os
import re

from ops.environment.contract import VARIABLES
from ops.environment.loader import find_dotenv

from ..common import process
from ..common.faults import StackctlError

# In compose's message: the file that an include or an extends names.
MISSING_FILE = re.compile(r"(?:open|stat) (\S+): no such file")


def refused(error: str) -> StackctlError:
    """Return the fault that compose refuses its files or variables."""
    # Compose quotes the line of .env, which can be a secret.
    if error.startswith("failed to read "):
        return StackctlError(
            "docker compose cannot read .env", "./manage.py env check names the line and the fault."
        )
    hint = "Check .env and the compose files."
    if missing := MISSING_FILE.search(error):
        hint = _values_of(missing[1]) or hint
    return StackctlError(f"docker compose cannot read the project: {error}", hint)


def _values_of(path: str) -> str:
    """Return the next step for a missing file that has a variable's value in its name."""
    path = path.removeprefix(f"{process.ROOT}/")
    own = {**find_dotenv(os.environ, "local", process.ROOT).values, **os.environ}
    for name, variable in VARIABLES.items():
        value = own.get(name, "")
        part = re.compile(rf"(?<=[/.-]){re.escape(value)}(?=[/.])")
        if not (value and variable.choices and part.search(path)):
            continue
        existing = [
            choice
            for choice in variable.choices
            if (process.ROOT / part.sub(choice, path)).exists()
        ]
        if existing:
            return f"Set {name} to one of: {', '.join(existing)}."
    return ""
