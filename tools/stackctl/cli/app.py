"""The program, and the options that several commands have."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ..over_ssh.group import Commands

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
