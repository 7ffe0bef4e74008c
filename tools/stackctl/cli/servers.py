"""Commands for servers: those of the stack, and the machine that it runs on."""

from __future__ import annotations

from typing import Annotated

import typer

from ..commands import heal as healing
from ..commands import reload as reloading
from ..commands import servers
from ..common.ending import run
from ..over_ssh import setup as preparing
from .app import Json, app


@app.command()
def drain(
    server: Annotated[str, typer.Argument(help="server1, server2, ...")],
    force: Annotated[
        bool, typer.Option("--force", help="Drain even the last server in service.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Send no new requests to a server, and wait until its running requests end."""
    run(as_json, lambda console: servers.drain(console, server, force=force))


@app.command()
def ready(
    server: Annotated[str, typer.Argument(help="server1, server2, ...")], as_json: Json = False
) -> None:
    """Send requests to a drained server again, once its health checks pass."""
    run(as_json, lambda console: servers.ready(console, server))


@app.command()
def reload(as_json: Json = False) -> None:
    """Check haproxy.cfg and the certificate, and reload HAProxy without failed requests."""
    run(as_json, reloading.reload)


@app.command()
def certs(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Default: localhost 127.0.0.1 ::1."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing certificate.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create a certificate from a local authority in certs/, for https on this machine."""
    # Imported here: no other command needs a library for keys.
    from ..commands import local_ca

    run(as_json, lambda console: local_ca.make(console, names or (), force=force))


@app.command()
def heal(
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until SIGTERM or Ctrl-C.")] = False,
    seconds: Annotated[
        float, typer.Option(help="Seconds between two checks of --watch.", min=1)
    ] = healing.CHECK_SECONDS,
    as_json: Json = False,
) -> None:
    """Restart containers that crashed and servers that hang. What you stopped stays stopped."""
    run(as_json, lambda console: healing.heal(console, watch=watch, seconds=seconds))


@app.command()
def setup(
    host: Annotated[
        str,
        typer.Argument(metavar="USER@SERVER[:/FOLDER]", help="Root, or a user who may use sudo."),
    ],
    user: Annotated[
        str, typer.Option(help="The user who will run the stack there.")
    ] = preparing.USER,
    ports: Annotated[
        str, typer.Option(help="What the firewall opens to visitors.")
    ] = preparing.PORTS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the changes.")] = False,
    as_json: Json = False,
) -> None:
    """Prepare an empty Debian or Ubuntu over ssh; shows first what it would do."""
    options = preparing.Options(user, ports, dry_run, yes)
    run(as_json, lambda console: preparing.setup(console, host, options))
