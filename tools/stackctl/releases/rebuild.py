"""`deploy --pull`: a release of the same commit on fresh base images and Debian packages.

Its name is the commit's with the time of its build, so a rollback to the one before is possible.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..common import process
from ..common.console import Console
from ..common.faults import InterruptedByUserError, StackctlError
from ..common.interrupt import Interrupt
from ..docker import compose, lock
from . import prebuilt, record, release

# Behind the commit: date and time in UTC.
_TIME = re.compile(r"-\d{8}-\d{6}")
# FROM debian:trixie-slim AS base; a stage of the same file has no tag.
_BASE_IMAGE = re.compile(r"^FROM\s+(?:--\S+\s+)?(\S+:\S+)", re.MULTILINE)


def named(project: compose.Project, wanted: str, *, pull: bool) -> release.Name:
    """Return the name of the release that a deploy builds.

    Args:
        project: the stack, whose lock is held.
        wanted: the name that a person gave; empty for the commit's.
        pull: whether it is built on fresh images: a name of its own. Else the checked out commit
            keeps the name of its last build, so a second deploy of it changes nothing.

    Raises:
        UsageError: docker refuses the wanted name as a tag.
        StackctlError: this is not a git repository with a commit.
    """
    if wanted:
        return release.named(wanted)
    commit = release.from_git()
    if pull:
        day, time = re.sub(r"[-:Z]", "", lock.now()).split("T")
        return release.Name(f"{commit.text}-{day}-{time}", commit.dirty)
    available = release.available(project)
    for entry in reversed(record.read(project)):
        built = entry.image or entry.release in available
        if entry.action == "deploy" and built and _TIME.sub("", entry.release) == commit.text:
            return release.Name(entry.release, commit.dirty)
    return commit


def pull_base_images(project: compose.Project, console: Console, interrupt: Interrupt) -> None:
    """Pull what the application's image is built on, under the names that builds use.

    `docker compose build --pull` would leave an older image of that name for the next build.

    Raises:
        StackctlError: one cannot be pulled.
        InterruptedByUserError: Ctrl-C; nothing was changed.
    """
    for image in _base_images(project):
        with console.step(f"pulling {image}"):
            result = process.follow(
                *("docker", "pull", image),
                on_line=console.detail,
                seconds=prebuilt.PULL_SECONDS,
                cut_short=lambda: interrupt.requested,
            )
        if interrupt.requested:
            raise InterruptedByUserError("interrupted while pulling; nothing was changed")
        if not result.ok:
            raise prebuilt.not_pulled(image, result.out)


def _base_images(project: compose.Project) -> list[str]:
    """Return the public images that the application's Dockerfiles begin with.

    Raises:
        StackctlError: a Dockerfile cannot be read.
    """
    build = project.services[compose.ENV_CHECK]["build"]
    contexts = (build.get("additional_contexts") or {}).values()
    others = [name.removeprefix("service:") for name in contexts if name.startswith("service:")]
    images: list[str] = []
    for described in (build, *(project.services[name]["build"] for name in others)):
        path = process.ROOT / described["context"] / described.get("dockerfile", "Dockerfile")
        images += _BASE_IMAGE.findall(_text(path))
    return list(dict.fromkeys(images))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StackctlError(
            f"{path}: {error.strerror}", "git status shows what is missing."
        ) from None
