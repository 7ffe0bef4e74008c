"""What a release is called, and its images: named by git, kept by tag, the oldest removed.

Each function that asks the engine raises StackctlError where it does not answer.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ..common import outputs, process
from ..common.faults import StackctlError, UsageError
from ..docker import compose, engine
from . import record

KEPT = 5
# Both docker's rule for a tag and the contract's for RELEASE.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


BY_HAND = "Name the release yourself: ./stackctl deploy --release NAME"
# A commit, on a line of its own.
HASH = re.compile(r"^[0-9a-f]{4,64}$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Name:
    """A release's name, and whether the tree had changes that no commit holds."""

    text: str
    dirty: bool = False


def named(text: str) -> Name:
    """Return a release's name that a person gave.

    Raises:
        UsageError: docker refuses it as a tag, or it is `latest`.
    """
    if not NAME.fullmatch(text) or text == "latest":
        raise UsageError(
            f"{text!r} cannot be a release's name",
            "Use letters, digits and . _ - (docker's rule for tags), but not `latest`.",
        )
    return Name(text)


def from_git() -> Name:
    """Return the commit's short hash, and for a dirty tree a hash of its changes behind it.

    Raises:
        StackctlError: this is not a git repository with a commit.
    """
    commit = process.run("git", "rev-parse", "--short=12", "HEAD")
    if not commit.ok:
        raise StackctlError(
            f"git cannot say which commit this is: {commit.err.strip()}",
            BY_HAND,
        )
    with outputs.read("git rev-parse", BY_HAND):
        (sha,) = HASH.findall(commit.out)
    changes = _changes()
    if not changes:
        return Name(sha)
    return Name(f"{sha}-dirty-{hashlib.sha256(changes.encode()).hexdigest()[:8]}", dirty=True)


def _changes() -> str:
    """Return the tree's difference from its commit, new files with their content's hash."""
    diff = _git("diff", "HEAD", "--binary")
    new = _git("ls-files", "--others", "--exclude-standard", "-z", ":/")
    # hash-object fails at a link to a folder: git has a link's target as its content.
    paths = {name: process.ROOT / name for name in new.split("\0") if name}
    links = "".join(f"{path.readlink()}\n" for path in paths.values() if path.is_symlink())
    files = [name for name, path in paths.items() if not path.is_symlink()]
    hashes = _git("hash-object", "--", *files) if files else ""
    return f"{diff}{new}{links}{hashes}"


def _git(*arguments: str) -> str:
    result = process.run("git", *arguments)
    if not result.ok:
        raise StackctlError(
            f"git {arguments[0]} cannot say what has changed: {result.err.strip()[:300]}",
            BY_HAND,
        )
    return result.out


def present(project: compose.Project, untouched: str, command: str) -> tuple[str, str]:
    """Return the image that every server runs, and its release.

    Args:
        project: the stack.
        untouched: what an error says of what was not done.
        command: what an error says to do again.

    Raises:
        StackctlError: they differ, or there are none.
    """
    containers = project.containers()
    servers = [containers[s] for s in project.servers if s in containers]
    images = {server.image: server.release for server in servers}
    if len(images) != 1:
        raise StackctlError(
            f"the servers run different releases, or none; {untouched}",
            f"./stackctl deploy, then {command} again.",
        )
    ((image, name),) = images.items()
    return image, name


def image_of(project: compose.Project, release: str) -> str:
    """Return the name of a release's image."""
    return f"{project.image}:{release}"


def available(project: compose.Project) -> dict[str, str]:
    """Return the releases that there are images of, each with its id."""
    tags = engine.tags(project.image)
    tags.pop("latest", None)
    return tags


def offered(project: compose.Project) -> dict[str, str]:
    """Return the releases that a rollback may go to: not those that the record knows as failed."""
    served = set(record.releases(project))
    failed = {entry.release for entry in record.read(project)} - served
    return {name: image for name, image in available(project).items() if name not in failed}


def keep_running_images(project: compose.Project) -> dict[str, engine.Container]:
    """Give each running server's image its release's name, so that a rollback to it is possible."""
    running = {
        name: container
        for name, container in project.containers().items()
        if name in (*project.servers, *project.workers) and container.running
    }
    for container in {one.image: one for one in running.values()}.values():
        name = image_of(project, container.release)
        if engine.image_id(name) != container.image:
            engine.tag(container.image, name)
    return running


def keep_latest(project: compose.Project) -> str:
    """See that compose's image has a name besides `latest`, its release's, and return that.

    Where another image has the release's name, as two that were built without a release have, it
    gets one of its own, since neither may lose its last one. Empty when there is no such image.
    """
    identity = engine.image_id(project.latest)
    if not identity:
        return ""
    known = available(project)
    for name, image in known.items():
        if image == identity:
            return name
    name = engine.image_release(identity)
    if name in known:
        name = f"{name}-{identity.removeprefix('sha256:')[:12]}"
    engine.tag(identity, image_of(project, name))
    return name


def prune(project: compose.Project) -> list[str]:
    """Let the oldest releases' images go and return their names.

    The newest five that served stay, and so does whatever a container or compose still uses.
    """
    in_use = {container.image for container in project.containers().values()}
    in_use.add(engine.image_id(project.latest))
    recorded = record.releases(project)
    # What failed is no target of a rollback; only its record stays.
    stay = set(recorded[:KEPT])
    mine = set(recorded) | {entry.release for entry in record.read(project)}
    old = [
        release
        for release, identity in available(project).items()
        if release in mine and release not in stay and identity not in in_use
    ]
    return [release for release in old if engine.untag(image_of(project, release))]
