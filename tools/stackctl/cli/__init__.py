"""The command line: what there is to say, and how each command ends.

The commands' docstrings are the text of --help. Each ends by typer.Exit, with its exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..common.faults import ExitCode

# In the order of --help.
from . import data, environment, releases, servers, stack  # noqa: F401
from .app import app


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    try:
        app(args=argv, prog_name="./stackctl")
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
