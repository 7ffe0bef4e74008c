"""The database, the media and the private files, saved with checksums; restore.py restores them.

A backup is a folder, backups/<project>/<time>/, readable by its owner alone: database.sql.gz,
extras.sql.gz (accounts and grants, the database's own settings, events), media.tar.gz, and
manifest.json, which describes them. It appears under its name only when it is complete.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..common import process
from ..common.console import Console
from ..common.faults import ExitCode, StackctlError, UsageError
from ..docker import compose, lock
from ..inside import databases
from . import stack

# 1 had no extras, and its dump was made by the application's user; 2 had no private files.
FORMAT = 3
FORMATS = (1, 2, FORMAT)
DATABASE = "database.sql.gz"
EXTRAS = "extras.sql.gz"
MEDIA = "media.tar.gz"
PARTS = (DATABASE, EXTRAS, MEDIA)
MANIFEST = "manifest.json"
# Enough of a dump's end to find its last line.
TAIL_BYTES = 500

MEDIA_FOLDER, PRIVATE_FOLDER = FOLDERS = "/srv/media", "/srv/private"
# Without its volume a folder is an empty one of the image, and no file of it would be saved.
MOUNTED = "".join(
    f"grep -q ' {folder} ' /proc/mounts || "
    f"{{ echo 'no volume is mounted at {folder}' >&2; exit 1; }}; "
    for folder in FOLDERS
)
# Where a restore unpacks, and where it puts what was there; left behind only by a crash.
STAGED, REPLACED = ".restoring", ".replaced"
# Exit code 1: an upload was added or removed meanwhile. The dump's rows name files from before it.
# https://www.gnu.org/software/tar/manual/html_section/Synopsis.html
_NAMES = [Path(folder).name for folder in FOLDERS]
_LEFT_OUT = " ".join(f"--exclude {n}/{left}" for n in _NAMES for left in (STAGED, REPLACED))
PACK = (
    f"{MOUNTED}tar --create --file - --anchored {_LEFT_OUT} --directory /srv {' '.join(_NAMES)} "
    "|| [ $? -eq 1 ]"
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
    # Whose SQL it is; a backup of an earlier version does not say it.
    database: str = databases.SERVERS[0].name
    # Whether it was loaded once, and gave the same dump again.
    verified: bool = False


def folder(project: str) -> Path:
    """Return the folder of a project's backups, which git ignores."""
    path = process.ROOT / "backups" / project
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def backup(console: Console, *, verify: bool) -> dict[str, Any]:
    """Save the database and the files; with `verify` also load what was saved, and compare.

    Raises:
        StackctlError: the database does not run here, or a part could not be saved whole.
    """
    project = stack.load()
    with lock.held(project, "backup"):
        path, manifest = save(project, console, verify=verify)
    console.good(f"saved {path.relative_to(process.ROOT)}")
    return {"path": str(path), **asdict(manifest), "code": int(ExitCode.OK)}


def find(project: compose.Project, wanted: str) -> Path:
    """Return a backup's folder by its path or its name.

    Raises:
        UsageError: there is no such backup; it lists those that exist.
    """
    for path in (folder(project.name) / wanted, process.ROOT / wanted):
        if wanted and (path / MANIFEST).is_file():
            return path
    names = sorted(p.parent.name for p in folder(project.name).glob(f"*/{MANIFEST}"))
    # Of a stack with another name or layer: by path.
    names = names or sorted(
        str(p.parent.relative_to(process.ROOT))
        for p in folder(project.name).parent.glob(f"*/*/{MANIFEST}")
    )
    raise UsageError(
        f"there is no backup {wanted!r}" if wanted else "name a backup",
        f"Backups: {', '.join(names) or 'none yet; ./stackctl backup makes one'}.",
    )


def checked(path: Path) -> Manifest:
    """Return a backup's manifest once every part is as it was when it was saved.

    Raises:
        StackctlError: a part is missing or differs, or the format is not known here.
    """
    try:
        raw = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if raw.get("format") not in FORMATS:
            raise StackctlError(
                f"{path.name} has the format {raw.get('format')!r}, and this release of stackctl "
                f"knows {FORMATS[0]} to {FORMAT}",
                "Restore it with the release that made it.",
            )
        manifest = Manifest(**raw)
        names = (DATABASE, MEDIA) if manifest.format == 1 else PARTS
        parts = {name: str(manifest.parts[name]["sha256"]) for name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StackctlError(
            f"{path.name}/{MANIFEST} cannot be read: {error}", "Choose another backup."
        ) from None
    for name, expected in parts.items():
        if not (path / name).is_file() or _sha256(path / name) != expected:
            raise StackctlError(
                f"{path.name}/{name} is missing or damaged (wrong checksum); nothing was changed",
                "Choose another backup, or copy this one again from where it came from.",
            )
    return manifest


def save(
    project: compose.Project,
    console: Console,
    suffix: str = "",
    *,
    verify: bool = False,
    lenient: bool = False,
) -> tuple[Path, Manifest]:
    """Save all parts; the database first, so that no row's file is missing.

    With `lenient` a broken view, which may be the reason to restore, is left out with a warning.
    """
    server = own_database(project)
    database = running_database(project)
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = folder(project.name) / f"{now}{suffix}"
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    try:
        with console.step("saving the database"):
            how = ("", "lenient") if lenient else ()
            dump = _write(partial / DATABASE, *server.command(database, "dump", *how))
            if lenient and dump.said:
                console.warn(dump.said)
            if server.dump_end not in dump.tail:
                raise StackctlError("the database dump is incomplete", "Try again; is db healthy?")
            extras = _write(partial / EXTRAS, *server.command(database, "extras"))
        with console.step("saving the media and private files"):
            _write(partial / MEDIA, *project.once("sh", "-c", PACK))
        if verify:
            with console.step("loading the backup into a scratch database, and comparing"):
                _verify(partial, server, database, dump, extras)
        manifest = _manifest(project, partial, server.name, verified=verify)
        _private(partial / MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target, manifest


def _manifest(
    project: compose.Project, partial: Path, database: str, *, verified: bool
) -> Manifest:
    containers = project.containers()
    releases = sorted({containers[name].release for name in project.servers if name in containers})
    parts = {
        name: {"bytes": (partial / name).stat().st_size, "sha256": _sha256(partial / name)}
        for name in PARTS
    }
    release = ", ".join(releases) or "none running"
    return Manifest(
        *(FORMAT, project.name, project.layer, release, lock.now(), parts, database, verified)
    )


@dataclass(slots=True)
class _Output:
    """What is kept of a program's output."""

    tail: bytes = b""
    # On standard error.
    said: str = ""
    sum: Any = field(default_factory=hashlib.sha256)

    def add(self, piece: bytes) -> None:
        self.tail = (self.tail + piece)[-TAIL_BYTES:]
        self.sum.update(piece)


def _verify(
    partial: Path, server: databases.DatabaseServer, container: str, dump: _Output, extras: _Output
) -> None:
    """Load a backup into a database of its own, whose dump and names must be the same.

    The extras (accounts, roles and their grants, events) cannot be loaded next to the live ones;
    they are read again.
    """

    def command(*arguments: str) -> tuple[str, ...]:
        return server.command(container, *arguments)

    name = databases.VERIFIED
    reloaded, reloaded_extras = _Output(), _Output()
    try:
        for action, part in (("prepare", EXTRAS), ("load", DATABASE)):
            done(process.pump_in(*command(action, name), pieces=unzipped(partial / part)))
        done(process.pump_out(*command("dump", name), sink=reloaded.add))
        done(process.pump_out(*command("extras"), sink=reloaded_extras.add))
        live, loaded = (
            set(done(process.run(*command("inventory", database))).out.splitlines())
            for database in ("", name)
        )
        with tarfile.open(partial / MEDIA, "r|gz") as media:
            for _ in media:
                pass
    except (StackctlError, tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise StackctlError(
            f"the backup cannot be loaded, and was not kept: {error}",
            "Is there room for a copy of the database? `./stackctl doctor` checks the disk.",
        ) from None
    finally:
        process.pump_in(*command("remove", name), pieces=())
    different = [*sorted(live ^ loaded)]
    if reloaded_extras.sum.digest() != extras.sum.digest():
        different.append("accounts, roles or events")
    if reloaded.sum.digest() != dump.sum.digest() or different:
        names = ", ".join(different) or "the contents"
        raise StackctlError(
            f"the loaded backup differs from the database, and was not kept: {names}",
            "Did a migration run meanwhile? Try again.",
        )


def done(result: process.Result) -> process.Result:
    """Return a program's result.

    Raises:
        StackctlError: the program failed.
    """
    if not result.ok:
        raise StackctlError(result.err.strip()[-500:])
    return result


def _write(path: Path, *command: str) -> _Output:
    """Write a program's output to a compressed file of the owner's; return what is known of it."""
    output = _Output()

    def keep(piece: bytes) -> None:
        file.write(piece)
        output.add(piece)

    with _private_file(path) as raw, gzip.open(raw, "wb", compresslevel=6) as file:
        result = process.pump_out(*command, sink=keep)
    if not result.ok:
        raise StackctlError(
            f"{path.name} could not be saved: {result.err.strip()[-500:]}",
            "Nothing was kept. `./stackctl doctor` says whether the stack is healthy.",
        )
    output.said = result.err.strip()
    return output


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


def unzipped(path: Path) -> Iterator[bytes]:
    """Yield a part's content, piece by piece.

    Raises:
        StackctlError: it cannot be unpacked.
    """
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


def running_database(project: compose.Project) -> str:
    """Return the id of the database's container.

    Raises:
        StackctlError: it does not run.
    """
    container = project.containers().get(compose.DATABASE)
    if container is None or not container.running:
        raise StackctlError("the database is not running", "Start it: docker compose up -d db")
    return container.id


def own_database(project: compose.Project) -> databases.DatabaseServer:
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
        "the application's database is not the one of this stack (DATABASE_URL or DB_HOST names "
        "another)",
        "Save and restore it with its own tools.",
    )
