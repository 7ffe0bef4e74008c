"""Commands for the stack as a whole, and for what runs in it."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import reports
from ..commands import check as checking
from ..commands import execute as executing
from ..commands import logs as logging
from ..commands import stack
from ..common.ending import run
from .app import Json, app

# What follows the first argument is another program's.
_REST_UNREAD = {"allow_extra_args": True, "allow_interspersed_args": False}


@app.command()
def up(
    build: Annotated[
        bool, typer.Option("--build", help="Build the image even if it exists.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the stack and wait until all of it is healthy."""
    run(as_json, lambda console: stack.up(console, build=build))


@app.command()
def down(
    volumes: Annotated[
        bool,
        typer.Option("--volumes", help="Remove the data too: database, media and private files."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before removing data.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the stack and remove its containers; the data stays."""
    if volumes and not yes:
        typer.confirm("Remove the database and all files for good?", abort=True, err=True)
    run(as_json, lambda console: stack.down(console, volumes=volumes))


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until Ctrl-C.")] = False,
    seconds: Annotated[
        float, typer.Option(help="Seconds between two checks of --watch.", min=0.2)
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """Show each part of the stack and what is wrong with it. Exit code 1 when something is."""
    run(as_json, lambda console: reports.status(console, watch, seconds))


@app.command()
def logs(
    services: Annotated[list[str] | None, typer.Argument(metavar="[SERVICE]...")] = None,
    request: Annotated[
        str, typer.Option("--request", metavar="ID", help="All lines of one request, by time.")
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="2030-01-01T12:00:00Z, or a duration such as 10m.")
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the containers' last lines, or every line of one request."""
    names = services or ()
    if (as_json and not request) or (follow and request):
        raise typer.BadParameter("--json is for --request, and --follow is not.")
    if request:
        run(as_json, lambda console: logging.of_request(console, request, since, names))
    run(as_json, lambda _: logging.follow(names, since, live=follow))


@app.command("exec", context_settings=_REST_UNREAD)
def execute(
    context: typer.Context,
    service: Annotated[str, typer.Argument(help="Its name, or `server` for any that runs.")],
) -> None:
    """Run a command in a running container: exec server ./manage.py showmigrations."""
    run(False, lambda _: executing.execute(service, context.args))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def shell(context: typer.Context) -> None:
    """Open Django's shell in a running server; `-c CODE` runs one line."""
    run(False, lambda _: executing.shell(context.args))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check everything that a start or a deploy needs. Changes nothing."""
    run(as_json, stack.doctor)


@app.command()
def check(
    pages: Annotated[
        int, typer.Option(help="The most pages to visit, for each visitor.", min=1)
    ] = 200,
    seconds: Annotated[int, typer.Option(help="Seconds to visit pages.", min=1)] = 300,
    sign_in: Annotated[bool, typer.Option(help="Visit the pages once more as a superuser.")] = True,
    as_json: Json = False,
) -> None:
    """Start a throw-away stack of this tree, visit its pages in a browser, and list the faults."""
    bounds = checking.Bounds(pages, seconds, sign_in)
    run(as_json, lambda console: checking.check(console, bounds))


@app.command()
def adopt(as_json: Json = False) -> None:
    """Run the stack from this folder from now on, instead of from another clone."""
    run(as_json, stack.adopt)


@app.command()
def version(as_json: Json = False) -> None:
    """Show which version of the stack this tree has."""
    run(as_json, reports.version)
