"""An image that CI built and pushed, in place of a build: pulled by its digest, named by itself."""

from __future__ import annotations

import re

from ..common import process
from ..common.console import Console
from ..common.faults import InterruptedByUserError, StackctlError, UsageError
from ..common.interrupt import Interrupt
from ..docker import compose, engine
from . import release

PULL_SECONDS = 1800.0
# `make push` builds the image of this layer.
LAYER = "production"
_REFERENCE = re.compile(r"(?P<repository>\w[\w.:/-]*)@sha256:[0-9a-f]{64}")
_REFUSED = ("unauthorized", "denied", "no basic auth", "authentication required")


def check(reference: str, name: str, *, pull: bool = False) -> None:
    """Check the options of a deploy.

    Raises:
        UsageError: the image is not named by its digest, the release by hand, or a build wanted.
    """
    if pull:
        raise UsageError(
            "--pull is for a build, and --image builds none",
            "`make push` builds on fresh base images; deploy the image that it prints.",
        )
    if not _REFERENCE.fullmatch(reference):
        raise UsageError(
            f"{reference!r} is no image with a digest: a tag may name another image tomorrow",
            "REPOSITORY@sha256:..., as `make push` prints it. Of a tag: docker buildx imagetools "
            "inspect REPOSITORY:TAG",
        )
    if name:
        raise UsageError(
            "--release cannot name an image that is built already",
            "Its RELEASE, which `make push` sets to the commit, is the release's name.",
        )


def pull(
    project: compose.Project, reference: str, console: Console, interrupt: Interrupt
) -> tuple[release.Name, str]:
    """Pull an image, give it its release's name, and return that and the image's id.

    Raises:
        StackctlError: it cannot be pulled, or is not one of this project's production layer.
        InterruptedByUserError: interrupted.
    """
    if project.layer != LAYER:
        raise StackctlError(
            f"--image needs the {LAYER} layer, and this is {project.layer}; nothing was changed",
            f"Set LAYER={LAYER} in .env. `./stackctl deploy` builds the image of any layer.",
        )
    with console.step(f"pulling {reference}"):
        result = process.follow(
            *("docker", "pull", reference),
            on_line=console.detail,
            seconds=PULL_SECONDS,
            cut_short=lambda: interrupt.requested,
        )
    if interrupt.requested:
        raise InterruptedByUserError("interrupted while pulling; nothing was changed")
    if not result.ok:
        raise not_pulled(reference, result.out)
    image = engine.image_id(reference)
    name = engine.image_release(image)
    if name == "unreleased":
        raise StackctlError(
            f"{reference} does not say which release it is; nothing was changed",
            "Build it by `make push`, or with the build argument RELEASE.",
        )
    engine.tag(image, release.image_of(project, release.named(name).text))
    # The digest would keep it when the release is removed.
    engine.untag(reference)
    return release.Name(name), image


def not_pulled(reference: str, output: str) -> StackctlError:
    """Return the fault of a pull that failed, by what docker printed."""
    lines = [line for line in output.splitlines() if line.strip()]
    words = lines[-1].strip() if lines else "docker gives no reason"
    hint = "Does this machine reach the registry? Is the image of this machine's platform?"
    if any(part in output.lower() for part in _REFUSED):
        hint = f"Sign in as this user, once: docker login {_registry(reference)}"
    elif "not found" in output or "manifest unknown" in output:
        hint = "Was it pushed there? `make push` prints the name with the digest."
    return StackctlError(f"{reference} cannot be pulled; nothing was changed: {words}", hint)


def _registry(reference: str) -> str:
    """Return the registry that an image's name begins with; nothing for Docker Hub."""
    first = reference.partition("/")[0]
    return first if "." in first or ":" in first or first == "localhost" else ""
