"""The database and the media files: saved with checksums, and brought back.

A backup is a folder, backups/<project>/<time>/, readable by its owner alone: database.sql.gz,
media.tar.gz, and manifest.json, which says what they are. It appears under its name only when it is
whole. Passwords stay in the database's container, in its environment.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import compose, databases, engine, lock, process, stack
from .console import Console
from .faults import (
    ExitCode,
    InterruptedByUserError,
    NotWholeError,
    StackctlError,
    UsageError,
)
from .interrupt import Interrupt

FORMAT = 1
DATABASE = "database.sql.gz"
MEDIA = "media.tar.gz"
MANIFEST = "manifest.json"
# Enough of a dump's end to find the words that stand there.
TAIL_BYTES = 500

# Without its volume the folder is an empty one of the image, and no media file would be saved.
MOUNTED = (
    "grep -q ' /srv/media ' /proc/mounts || "
    "{ echo 'no volume is mounted at /srv/media' >&2; exit 1; }; "
)
# 1 says that a file came, grew or went meanwhile, on a site that takes uploads. Those that the rows
# of the dump name were whole before it.
# https://www.gnu.org/software/tar/manual/html_section/Synopsis.html
PACK = f"{MOUNTED}tar --create --directory /srv/media --file - . || [ $? -eq 1 ]"
UNPACK = (
    f"{MOUNTED}find /srv/media -mindepth 1 -delete && "
    "tar --extract --no-same-owner --directory /srv/media --file -"
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is."""

    format: int
    project: str
    layer: str
    release: str
    time: str
    # The parts by file name, each with its size in bytes and its SHA-256.
    parts: dict[str, dict[str, Any]]
    # Whose SQL it is; before there was a choice it was MySQL's.
    database: str = databases.MYSQL.name


def folder(project: str) -> Path:
    """Return the folder of a project's backups, which git ignores."""
    top = process.ROOT / "backups"
    path = top / project
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    ignore = top / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return path


def backup(console: Console) -> dict[str, Any]:
    """Save the database and the media files.

    Raises:
        StackctlError: the database does not run here, or a part could not be saved whole.
    """
    project = stack.load()
    with lock.held(project, "backup"):
        path, manifest = _save(project, console)
    console.good(f"saved {path.relative_to(process.ROOT)}")
    return {"path": str(path), **asdict(manifest), "code": int(ExitCode.OK)}


def restore(console: Console, wanted: str, *, force: bool) -> dict[str, Any]:
    """Bring the database and the media files back; what is there now is saved first.

    Raises:
        UsageError: there is no such backup.
        StackctlError: it is not whole, its format is unknown, or the stack runs.
        InterruptedByUserError: stopped before anything was changed.
        NotWholeError: ended in the middle.
    """
    project = stack.load()
    path = find(project, wanted)
    with console.step(f"checking {path.name}"):
        manifest = verify(path)
    if manifest.layer != project.layer and not force:
        raise StackctlError(
            f"this backup is of the {manifest.layer} layer, and this is {project.layer}",
            "Set LAYER to it, or take it over on purpose with --force.",
        )
    with lock.held(project, "restore"):
        _refuse_running(project, force)
        server = _require_own_database(project)
        if manifest.database != server.name:
            raise StackctlError(
                f"this backup is of {manifest.database}, and the stack's database is "
                f"{server.name}; nothing was changed",
                "Start the stack with the DB_ENGINE that it was saved from, and restore it there.",
            )
        _start_database(project, console)
        saved, _ = _save(project, console, suffix="-before-restore")
        console.say(f"what was there is in {saved.relative_to(process.ROOT)}")
        _Load(project, path, console).run(saved.name, wanted, force=force)
    console.good(f"restored {path.name}, saved by release {manifest.release}")
    if not force:
        console.say("./stackctl up starts the stack, and migrates what the release needs")
    return {"path": str(path), **asdict(manifest), "before": str(saved), "code": int(ExitCode.OK)}


def find(project: compose.Project, wanted: str) -> Path:
    """Return a backup's folder by its path or its name."""
    for path in (folder(project.name) / wanted, process.ROOT / wanted):
        if wanted and (path / MANIFEST).is_file():
            return path
    names = sorted(p.parent.name for p in folder(project.name).glob(f"*/{MANIFEST}"))
    raise UsageError(
        f"there is no backup {wanted!r}" if wanted else "say which backup",
        f"There are: {', '.join(names) or 'none yet; ./stackctl backup makes one'}.",
    )


def verify(path: Path) -> Manifest:
    """Return a backup's manifest once every part is as it was when it was saved.

    Raises:
        StackctlError: a part is missing or differs, or the format is not known here.
    """
    try:
        raw = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if raw.get("format") != FORMAT:
            raise StackctlError(
                f"{path.name} has the format {raw.get('format')!r}, and this release of stackctl "
                f"knows {FORMAT}",
                "Restore it with the release that made it.",
            )
        manifest = Manifest(**raw)
        parts = {name: str(manifest.parts[name]["sha256"]) for name in (DATABASE, MEDIA)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StackctlError(
            f"{path.name}/{MANIFEST} cannot be read: {error}", "Choose another backup."
        ) from None
    for name, expected in parts.items():
        if not (path / name).is_file() or _sha256(path / name) != expected:
            raise StackctlError(
                f"{path.name}/{name} is missing, or not what was saved (wrong checksum); nothing "
                "was changed",
                "Choose another backup, or copy this one again from where it came from.",
            )
    return manifest


def _save(project: compose.Project, console: Console, suffix: str = "") -> tuple[Path, Manifest]:
    """Save both parts; the database first, so that no row's file is missing."""
    server = _require_own_database(project)
    database = _running_database(project)
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = folder(project.name) / f"{now}{suffix}"
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    try:
        with console.step("saving the database"):
            tail = _write(partial / DATABASE, *server.dump(database))
            if server.dump_end not in tail:
                raise StackctlError("the database's dump is cut off", "Try again; is db healthy?")
        with console.step("saving the media files"):
            _write(partial / MEDIA, *project.once("sh", "-c", PACK))
        manifest = _manifest(project, partial, server.name)
        _private(partial / MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target, manifest


def _manifest(project: compose.Project, partial: Path, database: str) -> Manifest:
    containers = project.containers()
    releases = sorted({containers[name].release for name in project.servers if name in containers})
    parts = {
        name: {"bytes": (partial / name).stat().st_size, "sha256": _sha256(partial / name)}
        for name in (DATABASE, MEDIA)
    }
    release = ", ".join(releases) or "none running"
    return Manifest(FORMAT, project.name, project.layer, release, lock.now(), parts, database)


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


NOTHING = "nothing was changed"
NOT_WHOLE = "the data are not whole now"
IN_DOUBT = "the data may not be whole now"


class _Load:
    """A backup's way into the place of what is there.

    Ctrl-C cuts it off at once: who asks for the wrong backup should not have to wait for its end.
    """

    def __init__(self, project: compose.Project, path: Path, console: Console) -> None:
        """Find the database; nothing is changed yet."""
        self.project, self.path, self.console = project, path, console
        self.server = _require_own_database(project)
        self.container = _running_database(project)
        # What is true if it ends now.
        self.left = NOTHING

    def run(self, saved: str, wanted: str, *, force: bool) -> None:
        """Put both parts in place.

        Args:
            saved: the backup of what was there.
            wanted: what the person called this backup.
            force: whether the person said so.
        """
        try:
            with Interrupt().noted(_cut):
                self._all()
        except StackctlError as error:
            if self.left == NOTHING:
                raise type(error)(f"{error.problem}; {NOTHING}", error.cure) from None
            forced = " --force" if force else ""
            raise NotWholeError(
                f"{error.problem}; {self.left}",
                f"Bring back what was there: ./stackctl restore {saved}{forced}\n"
                f"Or begin anew: ./stackctl restore {wanted}{forced}\n"
                "Not before that: ./stackctl up, which would start and migrate what is left.",
            ) from None

    def _all(self) -> None:
        # With an end to wait for, the database stays as it is until then.
        self.left = NOTHING if self.server.load_end else NOT_WHOLE
        self._part("the database", self.server.load(self.container), self._dump())
        self.left = NOT_WHOLE
        media = self.project.once("sh", "-c", UNPACK)
        self._part("the media files", media, _unzipped(self.path / MEDIA))

    def _part(self, what: str, command: tuple[str, ...], pieces: Iterator[bytes]) -> None:
        try:
            with self.console.step(f"restoring {what}"):
                result = process.pump_in(*command, pieces=pieces)
                if not result.ok:
                    raise StackctlError(result.err.strip()[-500:])
        except StackctlError as error:
            problem = f"{what} could not be restored: {error.problem}"
            raise type(error)(problem, error.cure) from None

    def _dump(self) -> Iterator[bytes]:
        """Give the dump, and then the end that makes it last: only after all of it was read."""
        tail = b""
        for piece in _unzipped(self.path / DATABASE):
            tail = (tail + piece)[-TAIL_BYTES:]
            yield piece
        if self.server.dump_end not in tail:
            raise StackctlError(f"{DATABASE} is cut off", "Choose another backup.")
        self.left = IN_DOUBT
        yield self.server.load_end


def _cut(_: str) -> None:
    raise InterruptedByUserError("interrupted")


def _write(path: Path, *command: str) -> bytes:
    """Write a program's output to a compressed file of the owner's; return its last bytes."""
    tail = b""

    def keep(piece: bytes) -> None:
        nonlocal tail
        file.write(piece)
        tail = (tail + piece)[-TAIL_BYTES:]

    with _private_file(path) as raw, gzip.open(raw, "wb", compresslevel=6) as file:
        result = process.pump_out(*command, sink=keep)
    if not result.ok:
        raise StackctlError(
            f"{path.name} could not be saved: {result.err.strip()[-500:]}",
            "Nothing was kept. `./stackctl doctor` tells whether the stack is well.",
        )
    return tail


@contextmanager
def _private_file(path: Path) -> Iterator[Any]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as raw:
        yield raw
        raw.flush()
        os.fsync(raw.fileno())


def _private(path: Path, content: bytes) -> None:
    with _private_file(path) as raw:
        raw.write(content)


def _unzipped(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        try:
            yield from iter(_reader(file), b"")
        except (OSError, EOFError, zlib.error) as error:
            raise StackctlError(
                f"{path.name} cannot be unpacked: {error}", "Choose another backup."
            ) from None


def _reader(file: gzip.GzipFile) -> Callable[[], bytes]:
    return lambda: file.read(process.PIECE_BYTES)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _running_database(project: compose.Project) -> str:
    container = project.containers().get(compose.DATABASE)
    if container is None or not container.running:
        raise StackctlError("the database is not running", "Start it: docker compose up -d db")
    return container.id


def _require_own_database(project: compose.Project) -> databases.Server:
    """Return what the stack's own database is.

    Raises:
        StackctlError: the application uses another one.
    """
    given = project.environment(project.servers[0])
    own = not given.get("DATABASE_URL") and given.get("DB_HOST") == compose.DATABASE
    image = str(project.services.get(compose.DATABASE, {}).get("image", ""))
    server = databases.server_of(image)
    if own and server:
        return server
    raise StackctlError(
        "the application's database is not this stack's MySQL or PostgreSQL (DATABASE_URL or "
        "DB_HOST names another)",
        "Save and restore it with its own tools.",
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
            f"Stop it first: docker compose stop {' '.join(users)}. Or say --force.",
        )
