"""The option `--host`, before any command."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from ..common.ending import run
from . import command


class Commands(TyperGroup):
    """The commands, of this machine or a server."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Hand a server's command over unread: the stack there may be of another version.

        Raises:
            typer.Exit, SystemExit: it has run there, with its exit code.
        """
        host, project_name = ctx.params["host"], ctx.params["project_name"]
        if not host:
            return super().resolve_command(ctx, args)
        named = ["--project-name", project_name] if project_name else []
        diverged = bool(ctx.params["allow_diverged"])
        return run(
            "--json" in args,
            lambda console: command.run(console, host, args, before=named, diverged=diverged),
        )
