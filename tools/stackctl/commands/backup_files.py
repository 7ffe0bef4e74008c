"""A backup's files: their names, how they are written and read, and their checksums.

A backup is a folder, backups/<project>/<time>/, readable by its owner alone: database.sql.gz,
extras.sql.gz (accounts and grants, the database's own settings, events), media.tar.gz, and
manifest.json, which describes them. It appears under its name only when it is complete.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..common import process
from ..common.faults import StackctlError, UsageError
from ..docker import compose
from ..inside import databases

# 1 had no extras, and its dump was made by the application's user; 2 had no private files.
FORMAT = 3
FORMATS = (1, 2, FORMAT)
DATABASE = "database.sql.gz"
EXTRAS = "extras.sql.gz"
MEDIA = "media.tar.gz"
PARTS = (DATABASE, EXTRAS, MEDIA)
MANIFEST = "manifest.json"
_PARTIAL = ".partial"
# Its name is its time; one that a restore made has a suffix.
NAME = re.compile(r"\d{8}T\d{6}Z")
LATEST = "latest"
# Enough of a dump's end to find its last line.
TAIL_BYTES = 500


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


def find(project: compose.Project, wanted: str) -> Path:
    """Return a backup's folder by its path or its name.

    Raises:
        UsageError: there is no such backup; it lists those that exist.
    """
    for path in (folder(project.name) / wanted, process.ROOT / wanted):
        if wanted and (path / MANIFEST).is_file():
            return path
    names = sorted(p.parent.name for p in folder(project.name).glob(f"*/{MANIFEST}"))
    if wanted == LATEST and (complete := [name for name in names if NAME.fullmatch(name)]):
        return folder(project.name) / complete[-1]
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
        if not (path / name).is_file() or sha256_of(path / name) != expected:
            raise StackctlError(
                f"{path.name}/{name} is missing or damaged (wrong checksum); nothing was changed",
                "Choose another backup, or copy this one again from where it came from.",
            )
    return manifest


@contextmanager
def incomplete(project: compose.Project, suffix: str = "") -> Iterator[Path]:
    """Yield a folder for a new backup, whose name begins with a dot.

    It is removed in the end, unless it was renamed by then; those of backups that were killed, too.
    """
    parent = folder(project.name)
    with _locked(parent):
        for left in parent.glob(f".*{_PARTIAL}"):
            with suppress(OSError), _locked(left, wait=False):
                shutil.rmtree(left)
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        partial = parent / f".{now}{suffix}{_PARTIAL}"
        partial.mkdir(mode=0o700)
        held = ExitStack()
        held.enter_context(_locked(partial))
    with held:
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder's lock, which ends with this process however it ends.

    Raises:
        BlockingIOError: another process has it, and this one does not wait.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def name_of(partial: Path) -> str:
    """Return the name that a folder for a new backup gets when it is complete."""
    return partial.name.removeprefix(".").removesuffix(_PARTIAL)


def write_manifest(partial: Path, manifest: Manifest) -> None:
    """Write a backup's manifest."""
    _private(partial / MANIFEST, json.dumps(asdict(manifest), indent=1).encode())


def parts_of(partial: Path) -> dict[str, dict[str, Any]]:
    """Return the size and checksum of each part that is in the folder."""
    return {
        name: {"bytes": (partial / name).stat().st_size, "sha256": sha256_of(partial / name)}
        for name in PARTS
        if (partial / name).exists()
    }


@dataclass(slots=True)
class Output:
    """What is kept of a program's output."""

    tail: bytes = b""
    # On standard error.
    said: str = ""
    sum: Any = field(default_factory=hashlib.sha256)

    def add(self, piece: bytes) -> None:
        """Add one more piece of it."""
        self.tail = (self.tail + piece)[-TAIL_BYTES:]
        self.sum.update(piece)


def done(result: process.Result) -> process.Result:
    """Return a program's result.

    Raises:
        StackctlError: the program failed.
    """
    if not result.ok:
        raise StackctlError(result.err.strip()[-500:])
    return result


def write(path: Path, *command: str, environ: Mapping[str, str] | None = None) -> Output:
    """Write a program's output to a compressed file of the owner's; return what is known of it.

    Args:
        path: the file, which must not exist.
        command: the program and its arguments.
        environ: variables on top of this process's own.

    Raises:
        StackctlError: the program cannot be started, or failed.
        OSError: the file cannot be written.
    """
    output = Output()

    def keep(piece: bytes) -> None:
        file.write(piece)
        output.add(piece)

    with _private_file(path) as raw, gzip.open(raw, "wb", compresslevel=6) as file:
        result = process.pump_out(*command, sink=keep, environ=environ)
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
        OSError: it cannot be opened.
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


def sha256_of(path: Path) -> str:
    """Return a file's checksum."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
