"""`env`: the commands of ./manage.py env, under the name of this program."""

from __future__ import annotations

import typer

from ops.environment.cli import main as env_main

from .app import app

env = typer.Typer(help="The environment's variables: check them, or write a new .env.")
app.add_typer(env, name="env", no_args_is_help=True)
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@env.command("check", context_settings=_PASSED_ON)
def env_check(context: typer.Context) -> None:
    """Report all faults of the environment (as ./manage.py env check does)."""
    raise typer.Exit(env_main(["check", *context.args]))


@env.command("init", context_settings=_PASSED_ON)
def env_init(context: typer.Context) -> None:
    """Write a .env with fresh secrets; never overwrites (as ./manage.py env init does)."""
    raise typer.Exit(env_main(["init", *context.args]))
