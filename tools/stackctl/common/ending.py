"""How each command ends: its result, or a fault as a message and an exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from .console import Console
from .faults import ExitCode, StackctlError, from_system


def run(as_json: bool, command: Callable[[Console], dict[str, Any]]) -> None:
    """Run a command; a fault becomes its message and exit code, never a traceback.

    Args:
        as_json: whether the result is printed as JSON.
        command: returns its result, of which `code` is the exit code, if it has one.

    Raises:
        typer.Exit: always, with the exit code.
    """
    console = Console(as_json=as_json)
    try:
        result = _with_system_errors(command, console)
    except StackctlError as error:
        console.fault(error)
        console.result({"error": error.problem, "next": error.hint, "code": int(error.code)})
        raise typer.Exit(error.code) from None
    except KeyboardInterrupt:
        console.bad("interrupted")
        console.result({"error": "interrupted", "code": int(ExitCode.INTERRUPTED)})
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    console.result(result)
    raise typer.Exit(result.get("code", ExitCode.OK))


def _with_system_errors(
    command: Callable[[Console], dict[str, Any]], console: Console
) -> dict[str, Any]:
    try:
        return command(console)
    except OSError as error:
        raise from_system(error) from None
