"""Restores a backup: loads it next to the live data, and replaces them once it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..common import process
from ..common.console import Console
from ..common.faults import (
    ExitCode,
    InterruptedByUserError,
    NotWholeError,
    StackctlError,
    UsageError,
)
from ..common.interrupt import Interrupt
from ..docker import compose, engine, lock
from ..inside import databases
from ..remote import place as places
from . import backup, remote_backup, stack
from . import backup_files as files

NOTHING = "nothing was changed"
# What the scripts end with only when they know that the live data are as they were.
UNTOUCHED = 8

_STAGED = f"{backup.MEDIA_FOLDER}/{backup.STAGED}"
_PRIVATE = f"{backup.PRIVATE_FOLDER}/{backup.STAGED}"
_DISCARD = "rm -rf " + " ".join(
    f"{folder}/{name}" for folder in backup.FOLDERS for name in (backup.STAGED, backup.REPLACED)
)
STAGE = (
    f"{backup.MOUNTED}{_DISCARD} && mkdir {_STAGED} && "
    # Private files never pass through the folder that nginx serves. Formats 1 and 2 have ./NAME.
    f"tar --extract --no-same-owner --directory / --file - --transform "
    rf"'s,^\(\.\|media\)\(/\|$\),{_STAGED[1:]}\2,S;s,^private\(/\|$\),{_PRIVATE[1:]}\1,S'"
)
_MOVE = "find {} -mindepth 1 -maxdepth 1 ! -name {} ! -name {} -exec mv -t {} {{}} +"


def _switch(folder: str) -> str:
    staged, replaced = backup.STAGED, backup.REPLACED
    return (
        f"mkdir {folder}/{replaced} && "
        f"{_MOVE.format(folder, staged, replaced, f'{folder}/{replaced}')} && "
        f"{_MOVE.format(f'{folder}/{staged}', staged, replaced, folder)}"
    )


# Backups of former formats have no private files: those that are live stay.
SWITCH = (
    f"{backup.MOUNTED}{_switch(backup.MEDIA_FOLDER)} && "
    f"{{ [ ! -d {_PRIVATE} ] || {{ {_switch(backup.PRIVATE_FOLDER)}; }}; }} && {_DISCARD}"
)


def restore(console: Console, wanted: str, *, force: bool, source: str = "") -> dict[str, Any]:
    """Restore the database and the files; the present data is saved first.

    Args:
        console: shows the steps.
        wanted: the backup's name or path.
        force: restore even while the stack runs, or from another layer.
        source: the place of the backup; by default backups/, then BACKUP_TO.

    Raises:
        UsageError: there is no such backup.
        StackctlError: it is not whole, its format is unknown, or the stack runs.
        InterruptedByUserError: stopped before anything was changed.
        NotWholeError: ended in the middle.
    """
    project = stack.load()
    path = _located(project, wanted, source, console)
    with console.step(f"checking {path.name}"):
        manifest = files.checked(path)
    if manifest.layer != project.layer and not force:
        raise StackctlError(
            f"this backup is of the {manifest.layer} layer, and this is {project.layer}",
            "Set LAYER to that layer, or restore it here with --force.",
        )
    with lock.held(project, "restore"):
        _refuse_running(project, force)
        _refuse_while_saved(project)
        server = backup.own_database(project)
        if manifest.database != server.name:
            raise StackctlError(
                f"this backup is of {manifest.database}, and the stack's database is "
                f"{server.name}; nothing was changed",
                "Start the stack with the DB_ENGINE that it was saved from, and restore it there.",
            )
        _start_database(project, console)
        saved, _ = backup.save(project, console, suffix="-before-restore", lenient=True)
        console.say(f"the former data is in {saved.relative_to(process.ROOT)}")
        _Load(project, path, manifest, console).run(saved.name, wanted, force=force)
    console.good(f"restored {path.name}, saved by release {manifest.release}")
    if not force:
        console.say("./stackctl up starts the stack, and migrates what the release needs")
    return {"path": str(path), **asdict(manifest), "before": str(saved), "code": int(ExitCode.OK)}


def _located(project: compose.Project, wanted: str, source: str, console: Console) -> Path:
    """Return a backup's folder, fetched from another place where this machine does not have it."""
    place = places.read(source)
    if place is None:
        return files.find(project, wanted)
    here = ""
    if not source and wanted != files.LATEST:
        try:
            return files.find(project, wanted)
        except UsageError as error:
            here = f"{error.hint}\n"
    try:
        return remote_backup.fetch(project, place, wanted, console)
    except UsageError as error:
        raise UsageError(error.problem, f"{here}{error.hint}") from None


def _start_database(project: compose.Project, console: Console) -> None:
    if not engine.image_id(project.latest):
        # The database waits for the environment's check, which is of this image; on a new machine
        # there is none yet.
        stack.make_image(project, console)
    with console.step("starting the database"):
        started = project.up(console.detail, compose.DATABASE)
    if not started.ok:
        raise StackctlError(
            "the database does not start; nothing was changed",
            stack.culprits(project, compose.ENV_CHECK, compose.DATABASE),
            output="\n".join(started.out.splitlines()[-10:]),
        )


class _Load:
    """Loads a backup next to the live data, then switches to it.

    Ctrl-C stops the load at once; the switch takes seconds and always completes.
    """

    def __init__(
        self, project: compose.Project, path: Path, manifest: files.Manifest, console: Console
    ) -> None:
        """Find the database.

        Raises:
            StackctlError: it is not the stack's own, or does not run.
        """
        self.project, self.path, self.console = project, path, console
        self.former = manifest.format == 1
        self.server = backup.own_database(project)
        self.container = backup.running_database(project)

    def run(self, saved: str, wanted: str, *, force: bool) -> None:
        """Replace the live data.

        Args:
            saved: the backup of the live data.
            wanted: the backup's name as given on the command line.
            force: whether --force was given.
        """
        try:
            with Interrupt().noted(_cut):
                self._load()
        except BaseException as error:
            with Interrupt().noted(lambda _: None):
                self._discard()
            if not isinstance(error, StackctlError):
                raise
            raise type(error)(f"{error.problem}; {NOTHING}", error.hint) from None
        with Interrupt().noted(
            lambda _: self.console.warn("interrupted: the restore completes first")
        ):
            try:
                self._switch()
            except NotWholeError as error:
                forced = " --force" if force else ""
                raise NotWholeError(
                    f"{error.problem}; the data may be incomplete now",
                    f"Restore the data as they were: ./stackctl restore {saved}{forced}\n"
                    f"Or try again: ./stackctl restore {wanted}{forced}\n"
                    "Do not run ./stackctl up before that: it would migrate the incomplete data.",
                ) from None

    def _load(self) -> None:
        """Load both parts next to the live data."""
        name = databases.RESTORED
        role = ["application"] if self.former else []
        with self.console.step("loading the database"):
            self._into(self._command("prepare", name), self._extras())
            self._into(self._command("load", name, *role), self._dump())
        with self.console.step("unpacking the media and private files"):
            self._into(self._media(STAGE), files.unzipped(self.path / files.MEDIA))

    def _switch(self) -> None:
        with self.console.step("replacing the live data"):
            command = self._command("switch", databases.RESTORED)
            result = process.pump_in(*command, pieces=self._extras())
            problem = f"the database could not be replaced: {result.err.strip()[-500:]}"
            if result.code == UNTOUCHED:
                self._discard()
                raise StackctlError(f"{problem}; {NOTHING}", "Does another client hold a lock?")
            if not result.ok:
                raise NotWholeError(problem)
            result = process.pump_in(*self._media(SWITCH), pieces=())
            if not result.ok:
                raise NotWholeError(
                    f"the media or private files could not be replaced: {result.err.strip()[-500:]}"
                )

    def _discard(self) -> None:
        for command in (self._command("remove", databases.RESTORED), self._media(_DISCARD)):
            result = process.pump_in(*command, pieces=())
            if not result.ok:
                self.console.warn(
                    f"not removed until the next restore: {result.err.strip()[-300:]}"
                )

    def _command(self, *arguments: str) -> tuple[str, ...]:
        return self.server.command(self.container, *arguments)

    def _media(self, script: str) -> tuple[str, ...]:
        return self.project.once("sh", "-c", script)

    def _into(self, command: tuple[str, ...], pieces: Iterator[bytes]) -> None:
        files.done(process.pump_in(*command, pieces=pieces))

    def _extras(self) -> Iterator[bytes]:
        return iter(()) if self.former else files.unzipped(self.path / files.EXTRAS)

    def _dump(self) -> Iterator[bytes]:
        tail = b""
        for piece in files.unzipped(self.path / files.DATABASE):
            tail = (tail + piece)[-files.TAIL_BYTES :]
            yield piece
        if self.server.dump_end not in tail:
            raise StackctlError(f"{files.DATABASE} is incomplete", "Choose another backup.")


def _cut(_: str) -> None:
    raise InterruptedByUserError("interrupted")


def _refuse_while_saved(project: compose.Project) -> None:
    if container := remote_backup.is_saving(project):
        raise StackctlError(
            f"a backup is being saved by the container {container}, which reads the files; "
            "nothing was changed",
            f"Wait until it has ended, or end it: docker stop {container}",
        )


def _refuse_running(project: compose.Project, force: bool) -> None:
    containers = engine.containers(project.name, everything=False)
    users = sorted(
        c.service for c in containers if c.service in (*project.servers, *project.workers)
    )
    if users and not force:
        raise StackctlError(
            f"the stack is running ({', '.join(users)}), and would read and write meanwhile; "
            "nothing was changed",
            f"Stop it first: docker compose stop {' '.join(users)}. Or add --force.",
        )
