"""The variables of the stack as docker compose reads them."""

from __future__ import annotations

import os

from ops.environment.contract import VARIABLES
from ops.environment.loader import find_dotenv

from ..common import process


def layer_of_stack() -> str:
    """Return LAYER: the process's environment, else `.env`, else local."""
    return variable("LAYER")


def variable(name: str) -> str:
    """Return a variable's text: the process's environment, else `.env`, else its default."""
    dotenv_file = find_dotenv(os.environ, "local", process.ROOT)
    return os.environ.get(name) or dotenv_file.values.get(name) or VARIABLES[name].default
