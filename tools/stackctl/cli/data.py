"""Commands for the data."""

from __future__ import annotations

from typing import Annotated

import typer

from ..commands import backups as saving
from ..commands import dbshell as opening
from ..commands import restore as restoring
from ..commands import timer as timers
from ..common.ending import run
from .app import Json, app


@app.command()
def backup(
    verify: Annotated[
        bool, typer.Option("--verify", help="Load the backup into a scratch database, and compare.")
    ] = False,
    to: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="s3://BUCKET/FOLDER, sftp://USER@HOST/FOLDER or a folder, encrypted. Default: "
            "BACKUP_TO, else backups/.",
        ),
    ] = "",
    local: Annotated[
        bool, typer.Option("--local", help="Save into backups/ in spite of BACKUP_TO.")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            help="Then remove all but the latest so many. Default: BACKUP_KEEP, else all stay.",
            min=1,
            show_default=False,
        ),
    ] = None,
    scheduled: Annotated[
        bool,
        typer.Option(
            "--scheduled",
            help="As a timer runs it: quiet, verified once a week, failures mailed to ADMINS.",
        ),
    ] = False,
    install_timer: Annotated[
        bool,
        typer.Option(
            "--install-timer", help="Install a systemd timer that makes one each night; as root."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Save the database, the media and the private files, with checksums."""
    if install_timer:
        run(as_json, timers.install)
    options = saving.Options(verify, to, local, keep or 0, scheduled)
    run(as_json, lambda console: saving.backup(console, options))


@app.command()
def restore(
    name: Annotated[
        str,
        typer.Argument(
            metavar="BACKUP",
            help="A backup's name or path, or latest. Without it, the error lists them.",
        ),
    ] = "",
    force: Annotated[
        bool,
        typer.Option("--force", help="Restore even while the stack runs, or from another layer."),
    ] = False,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="Where the backup is. Default: backups/, and what is not there in BACKUP_TO.",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Restore a backup's database and files. The present data is saved first."""
    run(as_json, lambda console: restoring.restore(console, name, force=force, source=source))


@app.command()
def dbshell(
    admin: Annotated[
        bool, typer.Option("--admin", help="As the administrator, who may do everything.")
    ] = False,
) -> None:
    """Open the database's client, as the application's user: rows only."""
    run(False, lambda console: opening.dbshell(console, admin=admin))
