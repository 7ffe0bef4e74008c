"""`./stackctl outdated`: what each image of the stack has that is old or has known faults."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..common.console import Console
from ..common.faults import ExitCode, StackctlError
from ..docker import compose, engine
from ..updates import debian_packages, python_packages, registry
from . import stack

_LOCK = (
    "Python: make lock UPGRADE=1, make test and a commit where you develop, then ./stackctl deploy"
)
_PULL = "Debian: ./stackctl deploy --pull"


@dataclass(slots=True)
class Image:
    """One image, and what is known of it."""

    name: str
    services: list[str]
    # What its containers run, or would run.
    identity: str
    # Built of this tree, in place of pulled.
    own: bool
    # What a command here brings up to date, what is good to know, and what could not be asked.
    old: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Return whether all was asked, and nothing is old."""
        return not (self.old or self.unanswered)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Note what the block could not ask; the other questions go on."""
        try:
            yield
        except StackctlError as error:
            self.unanswered.append(error.problem)
            self.steps.append(error.hint)


def outdated(console: Console) -> dict[str, Any]:
    """Ask for each image, and print what was answered.

    Raises:
        StackctlError: the project cannot be read, or the engine does not answer.
    """
    project = stack.load()
    images = _images(project)
    if not images:
        raise StackctlError("no image of this stack is here yet", "./stackctl up starts it.")
    python_packages.install(console)
    for image in images:
        with console.step(f"asking for updates of {image.name}"):
            if image.name == project.image:
                _python(image)
            _debian(image)
            if not image.own:
                _tag(image)
    for image in images:
        _print(console, image)
    for step in dict.fromkeys(step for image in images for step in image.steps):
        console.out.print(f"-> {step}", markup=False, soft_wrap=True)
    good = all(image.is_good for image in images)
    return {"code": int(ExitCode.OK if good else ExitCode.REFUSED)}


def _images(project: compose.Project) -> list[Image]:
    """Return the images of the services that would run, as they run."""
    containers = project.containers()
    images: dict[str, Image] = {}
    for service, described in project.services.items():
        name = str(described.get("image", "")).removesuffix(":latest")
        if described.get("scale", 1) == 0 or service in (compose.MIGRATE, compose.ENV_CHECK):
            continue
        container = containers.get(service)
        identity = container.image if container else engine.image_id(described["image"])
        if not identity:
            continue
        own = name == project.image or "build" in described
        images.setdefault(name, Image(name, [], identity, own)).services.append(service)
    return sorted(images.values(), key=lambda image: not image.own)


def _python(image: Image) -> None:
    with tempfile.TemporaryDirectory() as folder, image.asked():
        packages = python_packages.installed(image.identity)
        python_packages.describe(packages, Path(folder))
        with image.asked():
            audit = python_packages.audit(Path(folder))
            for fault in audit.faults:
                fixed = f"fixed in {', '.join(fault.fixed)}" if fault.fixed else "no fix yet"
                image.old.append(
                    f"fault: {fault.package} {fault.version}: {', '.join(fault.names)}; {fixed}"
                )
                image.steps.append(_LOCK)
            if audit.unknown:
                image.notes.append(f"not known to pip-audit: {', '.join(audit.unknown)}")
        with image.asked():
            newer = python_packages.newer(Path(folder), "Django")
            words = [f"{name} {old} -> {new}" for name, (old, new) in newer.items()]
            if words:
                image.notes.append(f"newer Python packages: {', '.join(words)}")


def _debian(image: Image) -> None:
    with image.asked():
        updates = debian_packages.updates(image.identity)
        # Only its publisher can bring the updates of a public image.
        lines = image.old if image.own else image.notes
        for update in sorted(updates, key=lambda one: not one.security):
            kind = "security update" if update.security else "update"
            lines.append(f"{kind}: {update.name} {update.old} -> {update.new}")
        if updates and image.own:
            image.steps.append(_PULL)


def _tag(image: Image) -> None:
    with image.asked():
        if registry.has_newer(image.name, image.identity):
            image.old.append(f"its registry has a newer {image.name}")
            services = " ".join(image.services)
            image.steps.append(
                f"{image.name}: docker pull {image.name} && docker compose up --detach --wait "
                f"--no-deps {services} (docs/update.md says what visitors notice)"
            )


def _print(console: Console, image: Image) -> None:
    state = "" if not image.is_good else ": up to date"
    lines = [f"{image.name} ({', '.join(image.services)}){state}"]
    lines += [f"  {text}" for text in image.old]
    lines += [f"  not answered: {text}" for text in image.unanswered]
    lines += [f"  note: {text}" for text in image.notes]
    for line in lines:
        console.out.print(line, markup=False, soft_wrap=True)
