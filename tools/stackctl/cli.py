"""The command line: what there is to say, and how each command ends.

The commands' docstrings are the text of --help. Each ends by typer.Exit, with its exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ops.environment.cli import main as env_main

from . import reports
from .commands import backups as saving
from .commands import check as checking
from .commands import dbshell as opening
from .commands import execute as executing
from .commands import heal as healing
from .commands import logs as logging
from .commands import reload as reloading
from .commands import restore as restoring
from .commands import rotate as rotating
from .commands import servers, stack
from .commands import timer as timers
from .common.ending import run as _run
from .common.faults import ExitCode
from .over_ssh import setup as preparing
from .over_ssh.group import Commands
from .releases import apply as applying
from .releases import deploy as deploying
from .releases.server_checks import HEALTH_SECONDS, WATCH_SECONDS, Limits

app = typer.Typer(
    name="stackctl",
    help="Runs the compose stack of the layer in LAYER, and deploys new releases without "
    "failed requests. Exit codes: 0 done; 1 refused; 2 wrong usage; 3 failed, and the previous "
    "release serves; 4 failed, and the rollback failed too; 5 a restore did not complete; "
    "130 interrupted; 255 the connection to a server was lost.",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# What follows the first argument is another program's.
_REST_UNREAD = {"allow_extra_args": True, "allow_interspersed_args": False}
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
HealthSeconds = Annotated[
    float, typer.Option(help="Seconds that a new server may take to become healthy.", min=1)
]
WatchSeconds = Annotated[
    float, typer.Option(help="Seconds to watch each new server's responses.", min=0)
]
InPlace = Annotated[
    bool,
    typer.Option(
        "--in-place",
        help="Drain and recreate one server at a time, instead of starting new ones next to them.",
    ),
]


@app.callback()
def options(
    project_name: Annotated[
        str, typer.Option("--project-name", "-p", help="Compose's project name.")
    ] = "",
    host: Annotated[
        str,
        typer.Option(
            metavar="USER@SERVER[:/FOLDER]", help="Run the command in a server's clone, over ssh."
        ),
    ] = "",
    allow_diverged: Annotated[
        bool,
        typer.Option(
            "--allow-diverged",
            help="With --host: deploy without commits that are checked out there.",
        ),
    ] = False,
) -> None:
    """Take what holds for every command."""
    if project_name:
        os.environ["COMPOSE_PROJECT_NAME"] = project_name


@app.command()
def up(
    build: Annotated[
        bool, typer.Option("--build", help="Build the image even if it exists.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the stack and wait until all of it is healthy."""
    _run(as_json, lambda console: stack.up(console, build=build))


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
    _run(as_json, lambda console: stack.down(console, volumes=volumes))


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until Ctrl-C.")] = False,
    seconds: Annotated[
        float, typer.Option(help="Seconds between two checks of --watch.", min=0.2)
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """Show each part of the stack and what is wrong with it. Exit code 1 when something is."""
    _run(as_json, lambda console: reports.status(console, watch, seconds))


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
        _run(as_json, lambda console: logging.of_request(console, request, since, names))
    _run(as_json, lambda _: logging.follow(names, since, live=follow))


@app.command("exec", context_settings=_REST_UNREAD)
def execute(
    context: typer.Context,
    service: Annotated[str, typer.Argument(help="Its name, or `server` for any that runs.")],
) -> None:
    """Run a command in a running container: exec server ./manage.py showmigrations."""
    _run(False, lambda _: executing.execute(service, context.args))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def shell(context: typer.Context) -> None:
    """Open Django's shell in a running server; `-c CODE` runs one line."""
    _run(False, lambda _: executing.shell(context.args))


@app.command()
def deploy(
    name: Annotated[
        str, typer.Option("--release", help="The release's name; default: the git commit.")
    ] = "",
    image: Annotated[
        str,
        typer.Option(
            metavar="REPOSITORY@sha256:...", help="Pull an image that CI built, and build none."
        ),
    ] = "",
    allow_incompatible: Annotated[
        bool,
        typer.Option(help="Apply migrations that the running release is not compatible with."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Deploy even if every server runs this release.")
    ] = False,
    health_seconds: HealthSeconds = HEALTH_SECONDS,
    watch_seconds: WatchSeconds = WATCH_SECONDS,
    in_place: InPlace = False,
    as_json: Json = False,
) -> None:
    """Build this tree and deploy it: new servers start, then replace the present ones."""
    limits = Limits(health_seconds, watch_seconds, in_place)
    options = deploying.Options(name, image, allow_incompatible, force, limits)
    _run(as_json, lambda console: deploying.deploy(console, options))


@app.command()
def apply(
    health_seconds: HealthSeconds = HEALTH_SECONDS,
    watch_seconds: WatchSeconds = WATCH_SECONDS,
    in_place: InPlace = False,
    as_json: Json = False,
) -> None:
    """Bring a changed .env to the servers and the worker: the same release, nothing is built."""
    limits = Limits(health_seconds, watch_seconds, in_place)
    _run(as_json, lambda console: applying.apply(console, limits))


@app.command()
def rollback(
    name: Annotated[
        str, typer.Argument(metavar="[RELEASE]", help="Default: the previous release.")
    ] = "",
    health_seconds: HealthSeconds = HEALTH_SECONDS,
    watch_seconds: WatchSeconds = WATCH_SECONDS,
    in_place: InPlace = False,
    as_json: Json = False,
) -> None:
    """Roll back to an earlier release. Migrations are not undone."""
    limits = Limits(health_seconds, watch_seconds, in_place)
    _run(as_json, lambda console: deploying.rollback(console, name, limits))


@app.command()
def releases(as_json: Json = False) -> None:
    """List the releases on record, the latest first."""
    _run(as_json, reports.releases)


@app.command()
def drain(
    server: Annotated[str, typer.Argument(help="server1, server2, ...")],
    force: Annotated[
        bool, typer.Option("--force", help="Drain even the last server in service.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Send no new requests to a server, and wait until its running requests end."""
    _run(as_json, lambda console: servers.drain(console, server, force=force))


@app.command()
def ready(
    server: Annotated[str, typer.Argument(help="server1, server2, ...")], as_json: Json = False
) -> None:
    """Send requests to a drained server again, once its health checks pass."""
    _run(as_json, lambda console: servers.ready(console, server))


@app.command()
def reload(as_json: Json = False) -> None:
    """Check haproxy.cfg and the certificate, and reload HAProxy without failed requests."""
    _run(as_json, reloading.reload)


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
    from .commands import local_ca

    _run(as_json, lambda console: local_ca.make(console, names or (), force=force))


@app.command()
def heal(
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until SIGTERM or Ctrl-C.")] = False,
    seconds: Annotated[
        float, typer.Option(help="Seconds between two checks of --watch.", min=1)
    ] = healing.CHECK_SECONDS,
    as_json: Json = False,
) -> None:
    """Restart containers that crashed and servers that hang. What you stopped stays stopped."""
    _run(as_json, lambda console: healing.heal(console, watch=watch, seconds=seconds))


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
        _run(as_json, timers.install)
    options = saving.Options(verify, to, local, keep or 0, scheduled)
    _run(as_json, lambda console: saving.backup(console, options))


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
    _run(as_json, lambda console: restoring.restore(console, name, force=force, source=source))


@app.command()
def adopt(as_json: Json = False) -> None:
    """Run the stack from this folder from now on, instead of from another clone."""
    _run(as_json, stack.adopt)


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(metavar="SECRET", help=f"{', '.join(rotating.NAMES)}.")],
    health_seconds: HealthSeconds = HEALTH_SECONDS,
    watch_seconds: WatchSeconds = WATCH_SECONDS,
    as_json: Json = False,
) -> None:
    """Replace a password of the stack, or Django's secret key, without failed requests."""
    limits = Limits(health_seconds, watch_seconds)
    _run(as_json, lambda console: rotating.rotate(console, name, limits))


@app.command()
def dbshell(
    admin: Annotated[
        bool, typer.Option("--admin", help="As the administrator, who may do everything.")
    ] = False,
) -> None:
    """Open the database's client, as the application's user: rows only."""
    _run(False, lambda console: opening.dbshell(console, admin=admin))


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
    _run(as_json, lambda console: checking.check(console, bounds))


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
    _run(as_json, lambda console: preparing.setup(console, host, options))


@app.command()
def version(as_json: Json = False) -> None:
    """Show which version of the stack this tree has."""
    _run(as_json, reports.version)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check everything that a start or a deploy needs. Changes nothing."""
    _run(as_json, stack.doctor)


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


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    try:
        app(args=argv, prog_name="./stackctl")
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
