"""Commands that bring a release, or new values, to the servers."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import reports
from ..commands import outdated as updating
from ..commands import rotate as rotating
from ..commands import sbom as listing
from ..common.ending import run
from ..releases import apply as applying
from ..releases import deploy as deploying
from ..releases.server_checks import HEALTH_SECONDS, WATCH_SECONDS, Limits
from .app import HealthSeconds, InPlace, Json, WatchSeconds, app


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
    pull: Annotated[
        bool,
        typer.Option("--pull", help="Build on fresh base images and Debian packages."),
    ] = False,
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
    options = deploying.Options(name, image, pull, allow_incompatible, force, limits)
    run(as_json, lambda console: deploying.deploy(console, options))


@app.command()
def apply(
    health_seconds: HealthSeconds = HEALTH_SECONDS,
    watch_seconds: WatchSeconds = WATCH_SECONDS,
    in_place: InPlace = False,
    as_json: Json = False,
) -> None:
    """Bring a changed .env to the servers and the worker: the same release, nothing is built."""
    limits = Limits(health_seconds, watch_seconds, in_place)
    run(as_json, lambda console: applying.apply(console, limits))


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
    run(as_json, lambda console: deploying.rollback(console, name, limits))


@app.command()
def releases(as_json: Json = False) -> None:
    """List the releases on record, the latest first."""
    run(as_json, reports.releases)


@app.command()
def outdated() -> None:
    """List what is old in each image, or has known faults. Exit code 1 when something is."""
    run(False, updating.outdated)


@app.command()
def sbom(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.")
    ] = "",
) -> None:
    """Write the image's Python and Debian packages as a CycloneDX document."""
    run(False, lambda console: listing.sbom(console, output))


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(metavar="SECRET", help=f"{', '.join(rotating.NAMES)}.")],
    health_seconds: HealthSeconds = HEALTH_SECONDS,
    watch_seconds: WatchSeconds = WATCH_SECONDS,
    as_json: Json = False,
) -> None:
    """Replace a password of the stack, or Django's secret key, without failed requests."""
    limits = Limits(health_seconds, watch_seconds)
    run(as_json, lambda console: rotating.rotate(console, name, limits))
