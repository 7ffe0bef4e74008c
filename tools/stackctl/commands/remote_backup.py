"""Saves backups in another place, and fetches them from there; restic encrypts and deduplicates.

A snapshot has the dump as it is (compressed, nothing of it would be like the day before) and the
files of the volumes, read in place. Its tag is the backup's name, its host the stack's.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..common import outputs, process
from ..common.console import Console
from ..common.faults import StackctlError, UsageError
from ..docker import compose, engine, lock
from ..remote import faults
from ..remote.place import Place
from ..remote.restic import Restic
from . import backup as saving
from . import backup_files as files

_DUMP, _FILES = "/srv/dump", "/srv/files"
# Each check reads another tenth of the data.
CHECKS = 10


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One backup in a place."""

    name: str
    project: str
    id: str


def save(
    project: compose.Project, place: Place, console: Console, *, verify: bool, create: bool
) -> dict[str, Any]:
    """Save a backup there.

    Args:
        project: the stack.
        place: where to.
        console: shows the steps.
        verify: also load the dump into a scratch database, and check what the place has.
        create: whether to begin where there are no backups yet.

    Returns what is known of it.

    Raises:
        StackctlError: it could not be saved whole; what was there before stays.
    """
    restic = Restic(project, place)
    with console.step(f"opening {place.name}"):
        restic.build()
        created = restic.open(create=create)
    if created:
        console.warn(
            f"these are the first backups in {place.name}: keep a copy of BACKUP_PASSWORD in "
            "another place, since they cannot be read without it"
        )
    with files.incomplete(project) as partial:
        # The upload may take hours, and needs no lock: it only reads.
        with lock.held(project, "backup"):
            check = saving.save_database(project, partial, console)
            if verify:
                check(console)
        manifest = saving.complete(project, partial, verified=verify)
        name = files.name_of(partial)
        with console.step(f"saving {name} with the media and private files"):
            summary = upload(restic, name, partial)
    if verify:
        with console.step("checking the stored backups"):
            part = datetime.now(UTC).toordinal() // 7 % CHECKS + 1
            restic.run("check", f"--read-data-subset={part}/{CHECKS}")
    return {"name": name, "release": manifest.release, "verified": verify, **summary}


def upload(restic: Restic, name: str, partial: Path) -> dict[str, Any]:
    """Save a snapshot of a dump and of the stack's files.

    Args:
        restic: the place.
        name: the backup's name.
        partial: the folder with the dump.

    Returns its id, and its bytes and those that the place did not have before.

    Raises:
        StackctlError: it is not whole, and was not kept.
    """
    project, place = restic.project.name, restic.place.name
    left_out = [
        f"--exclude={_FILES}/{Path(folder).name}/{left}"
        for folder in saving.FOLDERS
        for left in (saving.STAGED, saving.REPLACED)
    ]
    result = restic.save(
        *("--json", "--quiet", "--host", project, "--tag", name, *left_out),
        pieces=archive(partial),
        volumes={
            f"{_FILES}/{Path(folder).name}": _volume(restic.project, folder)
            for folder in saving.FOLDERS
        },
    )
    messages = [_message(line) for line in result.err.splitlines()]
    summary = next((m for m in messages if m.get("message_type") == "summary"), {})
    unread = [m for m in messages if m.get("message_type") == "error" and not _vanished(m)]
    if result.code not in (0, faults.INCOMPLETE) or not summary.get("snapshot_id"):
        raise faults.fault(place, result.code, result.err)
    if unread:
        restic.run("forget", str(summary["snapshot_id"]))
        raise StackctlError(
            f"{len(unread)} files could not be read, and the backup was not kept; the first is "
            f"{unread[0].get('item')}: {_reason(unread[0])}",
            "Correct that and try again; complete backups stay as they are.",
        )
    return {
        "snapshot": str(summary["snapshot_id"])[:8],
        "bytes": int(summary.get("total_bytes_processed", 0)),
        "new_bytes": int(summary.get("data_added_packed", summary.get("data_added", 0))),
    }


def _volume(project: compose.Project, folder: str) -> str:
    """Return the volume that a server has at a folder."""
    for mount in project.services[project.servers[0]].get("volumes") or ():
        if mount.get("type") == "volume" and mount.get("target") == folder:
            return str(project.model["volumes"][mount["source"]]["name"])
    raise StackctlError(
        f"no volume is mounted at {folder} in {project.servers[0]}",
        "Save its files with their own tools, or mount a volume there (docker-compose.yaml).",
    )


def _message(line: str) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _reason(message: dict[str, Any]) -> str:
    error = message.get("error")
    return str(error.get("message") if isinstance(error, dict) else error)


def _vanished(message: dict[str, Any]) -> bool:
    """Return whether a file was deleted meanwhile, as a site does; tar leaves it out too."""
    return "no such file or directory" in _reason(message)


def archive(partial: Path) -> Iterator[bytes]:
    """Read a folder's files as a tar archive, piece by piece."""
    for path in sorted(partial.iterdir()):
        entry = tarfile.TarInfo(path.name)
        entry.size = path.stat().st_size
        yield entry.tobuf()
        with path.open("rb") as file:
            while piece := file.read(process.PIECE_BYTES):
                yield piece
        yield bytes(-entry.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def forget(restic: Restic, keep: int) -> None:
    """Remove all but the latest backups of this stack.

    Args:
        restic: the place.
        keep: how many stay; at least one.
    """
    host = restic.project.name
    restic.run(
        *("forget", "--host", host, "--group-by", "host", "--keep-last", str(max(keep, 1))),
        "--prune",
    )


def snapshots(restic: Restic) -> list[Snapshot]:
    """Return the backups in a place, the oldest first; of other stacks too.

    Raises:
        StackctlError: the place cannot be read.
    """
    listed = restic.json("snapshots", "--no-lock")
    with outputs.read("restic snapshots --json"):
        return [
            Snapshot(name, one["hostname"], one["id"])
            for one in sorted(listed or (), key=lambda one: str(one["time"]))
            for name in one.get("tags") or ()
            if files.NAME.fullmatch(name)
        ]


def fetch(project: compose.Project, place: Place, wanted: str, console: Console) -> Path:
    """Copy a backup from a place into backups/, where restore finds it, and return its folder.

    Args:
        project: the stack.
        place: where it is.
        wanted: its name, `latest`, or one of another stack as PROJECT/NAME.
        console: shows the steps.

    Raises:
        UsageError: there is no such backup.
        StackctlError: it could not be fetched whole; nothing is kept.
    """
    restic = Restic(project, place)
    with console.step(f"opening {place.name}"):
        restic.build()
        restic.open(create=False)
        found = _chosen(snapshots(restic), project, wanted, place)
    # Two stacks may have saved in the same second.
    target = files.folder(found.project) / found.name
    if target.exists():
        return target
    with console.step(f"fetching {found.name}"), files.incomplete(project) as partial:
        for part in (files.DATABASE, files.EXTRAS):
            _get(restic, found.id, partial / part, f"{_DUMP}/{part.removesuffix('.gz')}")
        _get(restic, f"{found.id}:{_FILES}", partial / files.MEDIA, "/", "--archive", "tar")
        manifest = json.loads(_text(restic, found.id, f"{_DUMP}/{files.MANIFEST}"))
        manifest["parts"] = files.parts_of(partial)
        files.write_manifest(partial, files.Manifest(**manifest))
        return partial.rename(target)


def _chosen(there: list[Snapshot], project: compose.Project, wanted: str, place: Place) -> Snapshot:
    stack, _, name = wanted.rpartition("/")
    own = [one for one in there if one.project == (stack or project.name)]
    fitting = own[-1:] if name == files.LATEST else [one for one in own if one.name == name]
    if fitting:
        return fitting[-1]
    names = [one.name for one in own] or [f"{one.project}/{one.name}" for one in there]
    raise UsageError(
        f"there is no backup {wanted!r} in {place.name}" if wanted else "name a backup",
        f"Backups in {place.name}: {', '.join(names) or 'none yet'}.",
    )


def _get(restic: Restic, snapshot: str, path: Path, source: str, *options: str) -> None:
    command = restic.pump("dump", *options, snapshot, source)
    try:
        files.write(path, *command, environ=restic.place.environ)
    except StackctlError as error:
        raise StackctlError(
            f"{source} cannot be fetched from {restic.place.name}: {error.problem}",
            "Choose another backup; ./stackctl backup --verify checks all of them.",
        ) from None


def _text(restic: Restic, snapshot: str, source: str) -> str:
    pieces: list[bytes] = []
    command = restic.pump("dump", snapshot, source)
    result = process.pump_out(*command, sink=pieces.append, environ=restic.place.environ)
    if not result.ok:
        raise faults.fault(restic.place.name, result.code, result.err)
    return b"".join(pieces).decode(errors="replace")


def is_saving(project: compose.Project) -> str:
    """Return the container that saves the files of this stack now; empty when none does.

    Raises:
        StackctlError: the engine does not answer.
    """
    name = f"{project.name}-backup"
    return engine.docker("ps", "--filter", f"name=^/{name}$", "--format", "{{.Names}}").strip()
