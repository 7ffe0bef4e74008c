"""Saves the database, the media and the private files into a folder; restore.py restores them."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ..common import process
from ..common.console import Console
from ..common.faults import StackctlError
from ..docker import compose, lock
from ..inside import databases
from . import backup_files as files
from .backup_files import DATABASE, EXTRAS, MEDIA, Manifest, Output, done, unzipped

MEDIA_FOLDER, PRIVATE_FOLDER = FOLDERS = "/srv/media", "/srv/private"
# Without its volume a folder is an empty one of the image, and no file of it would be saved.
MOUNTED = "".join(
    f"grep -q ' {folder} ' /proc/mounts || "
    f"{{ echo 'no volume is mounted at {folder}' >&2; exit 1; }}; "
    for folder in FOLDERS
)
# Where a restore unpacks, and where it puts what was there; left behind only by a crash.
STAGED, REPLACED = ".restoring", ".replaced"
# tar ends with 1 when a file changed meanwhile, as uploads do. The files that rows of the dump
# name were complete before.
# https://www.gnu.org/software/tar/manual/html_section/Synopsis.html
_NAMES = [Path(folder).name for folder in FOLDERS]
_LEFT_OUT = " ".join(f"--exclude {n}/{left}" for n in _NAMES for left in (STAGED, REPLACED))
PACK = (
    f"{MOUNTED}tar --create --file - --anchored {_LEFT_OUT} --directory /srv {' '.join(_NAMES)} "
    "|| [ $? -eq 1 ]"
)


def save(
    project: compose.Project,
    console: Console,
    suffix: str = "",
    *,
    verify: bool = False,
    lenient: bool = False,
) -> tuple[Path, Manifest]:
    """Save all parts; the database first, so that no row's file is missing.

    Args:
        project: the stack.
        console: where progress is reported.
        suffix: what the backup's name ends with, after its time.
        verify: whether to load the backup once, and compare.
        lenient: whether to leave out a broken view, which may be the reason to restore, with a
            warning.

    Returns:
        The backup's folder, and its manifest.

    Raises:
        StackctlError: a part could not be saved or verified; nothing was kept.
    """
    with files.incomplete(project, suffix) as partial:
        check = save_database(project, partial, console, lenient=lenient)
        with console.step("saving the media and private files"):
            files.write(partial / MEDIA, *project.once("sh", "-c", PACK))
        if verify:
            check(console)
        manifest = complete(project, partial, verified=verify)
        return partial.rename(files.folder(project.name) / files.name_of(partial)), manifest


def save_database(
    project: compose.Project, partial: Path, console: Console, *, lenient: bool = False
) -> Callable[[Console], None]:
    """Save the database and its extras; return what verifies them.

    Raises:
        StackctlError: it does not run here, or could not be saved whole; what is returned raises it
            when the backup differs from the database.
    """
    server = own_database(project)
    database = running_database(project)
    with console.step("saving the database"):
        how = ("", "lenient") if lenient else ()
        dump = files.write(partial / DATABASE, *server.command(database, "dump", *how))
        if lenient and dump.said:
            console.warn(dump.said)
        if server.dump_end not in dump.tail:
            raise StackctlError("the database dump is incomplete", "Try again; is db healthy?")
        extras = files.write(partial / EXTRAS, *server.command(database, "extras"))

    def check(console: Console) -> None:
        with console.step("loading the backup into a scratch database, and comparing"):
            _verify(partial, server, database, dump, extras)

    return check


def complete(project: compose.Project, partial: Path, *, verified: bool) -> Manifest:
    """Write the manifest of all parts that are in the folder.

    Raises:
        StackctlError: as `own_database`.
    """
    manifest = _manifest(project, partial, own_database(project).name, verified=verified)
    files.write_manifest(partial, manifest)
    return manifest


def _manifest(
    project: compose.Project, partial: Path, database: str, *, verified: bool
) -> Manifest:
    containers = project.containers()
    releases = sorted({containers[name].release for name in project.servers if name in containers})
    parts = files.parts_of(partial)
    release = ", ".join(releases) or "none running"
    return Manifest(
        *(files.FORMAT, project.name, project.layer, release, lock.now(), parts, database, verified)
    )


def _verify(
    partial: Path, server: databases.DatabaseServer, container: str, dump: Output, extras: Output
) -> None:
    """Load a backup into a database of its own, whose dump and names must be the same.

    The extras (accounts, roles and their grants, events) cannot be loaded next to the live ones;
    they are read again.
    """

    def command(*arguments: str) -> tuple[str, ...]:
        return server.command(container, *arguments)

    name = databases.VERIFIED
    reloaded, reloaded_extras = Output(), Output()
    try:
        for action, part in (("prepare", EXTRAS), ("load", DATABASE)):
            done(process.pump_in(*command(action, name), pieces=unzipped(partial / part)))
        done(process.pump_out(*command("dump", name), sink=reloaded.add))
        done(process.pump_out(*command("extras"), sink=reloaded_extras.add))
        live, loaded = (
            set(done(process.run(*command("inventory", database))).out.splitlines())
            for database in ("", name)
        )
        _read_files(partial / MEDIA)
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


def _read_files(archive: Path) -> None:
    # A backup in another place has the files themselves.
    if archive.exists():
        with tarfile.open(archive, "r|gz") as media:
            for _ in media:
                pass


def running_database(project: compose.Project) -> str:
    """Return the database's container.

    Raises:
        StackctlError: it does not run, or is of another kind than the variables select.
    """
    container = project.containers().get(compose.DATABASE)
    if container is None or not container.running:
        raise StackctlError("the database is not running", "Start it: docker compose up -d db")
    if problem := databases.problem_of(project, container):
        raise StackctlError(problem, databases.MOVE)
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
