"""A restore that ends in the middle says what the data are now, and how to get the former back."""

import gzip
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stackctl_cli import backup, compose, deploy, engine, process, release, stack
from stackctl_cli.backup import DATABASE, MEDIA
from stackctl_cli.console import Console
from stackctl_cli.databases import MYSQL, POSTGRESQL, Server
from stackctl_cli.faults import (
    ExitCode,
    InterruptedByUserError,
    NotWholeError,
    StackctlError,
)
from tests.unit.test_stackctl_parts import container, fake_project

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SAVED = "20300101T000000Z-before-restore"
# What reads the data in the servers' place.
SINK = "cat >{}"


class Restore:
    """A restore whose database and media volume are two files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Save a backup, of MySQL."""
        self.folder, self.monkeypatch = folder, monkeypatch
        self.script = SINK
        self.use(MYSQL)
        self.write(DATABASE, b"SELECT 1;\n" + MYSQL.dump_end)
        self.write(MEDIA, b"files")
        monkeypatch.setattr(backup, "_running_database", lambda _: "db")
        monkeypatch.setattr(Server, "load", lambda *_: self.command("database"))
        monkeypatch.setattr(compose.Project, "once", lambda *_: self.command("media"))

    def use(self, server: Server) -> None:
        """Have the stack's database be of this kind."""
        self.monkeypatch.setattr(backup, "_require_own_database", lambda _: server)

    def write(self, name: str, content: bytes) -> None:
        """Make a part of the backup."""
        (self.folder / name).write_bytes(gzip.compress(content))

    def command(self, name: str) -> tuple[str, ...]:
        """Return the program that takes a part."""
        return ("sh", "-c", self.script.format(self.folder / name))

    def given(self, name: str) -> bytes:
        """Return what arrived."""
        path = self.folder / name
        return path.read_bytes() if path.exists() else b""

    def run(self, *, force: bool = False) -> None:
        """Load the backup."""
        load = backup._Load(fake_project(), self.folder, Console(as_json=True))
        load.run(SAVED, "wanted", force=force)

    def interrupted_after(self, name: str, number: int) -> None:
        """Have a signal come when a part's first piece is read."""

        def unzipped(path: Path) -> Iterator[bytes]:
            pieces = original(path)
            yield next(pieces)
            if path.name == name:
                os.kill(os.getpid(), number)
            yield from pieces

        original = backup._unzipped
        self.monkeypatch.setattr(backup, "_unzipped", unzipped)


@pytest.fixture
def restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restore:
    """A backup, and where it goes."""
    return Restore(tmp_path, monkeypatch)


def test_a_whole_restore_brings_both_parts(restore: Restore) -> None:
    restore.run()

    assert restore.given("database") == b"SELECT 1;\n" + MYSQL.dump_end
    assert restore.given("media") == b"files"


@pytest.mark.parametrize("number", SIGNALS)
def test_cut_off_while_mysql_loads_it_says_so_and_names_the_way_back(
    restore: Restore, number: int
) -> None:
    restore.interrupted_after(DATABASE, number)
    before = signal.getsignal(number)

    with pytest.raises(NotWholeError) as ended:
        restore.run(force=True)

    assert ended.value.code == ExitCode.NOT_WHOLE
    assert ended.value.problem == (
        "the database could not be restored: interrupted; the data are not whole now"
    )
    assert f"./stackctl restore {SAVED} --force" in ended.value.cure
    assert "./stackctl restore wanted --force" in ended.value.cure
    assert restore.given("media") == b""
    # A later signal ends the command as any other.
    assert signal.getsignal(number) == before


def test_postgresql_is_told_to_keep_it_only_when_all_was_read(restore: Restore) -> None:
    restore.use(POSTGRESQL)
    dump = b"SELECT 1;\n" + POSTGRESQL.dump_end
    restore.write(DATABASE, dump)

    restore.run()

    assert "\nBEGIN;\n" in POSTGRESQL.load_script
    assert "--single-transaction" not in POSTGRESQL.load_script
    assert restore.given("database") == dump + b"\nCOMMIT;\n"


def damaged(dump: bytes) -> bytes:
    """Return a compressed dump that cannot be unpacked to its end."""
    return gzip.compress(dump + os.urandom(3 * process.PIECE_BYTES))[: -process.PIECE_BYTES]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (damaged(b"SELECT 1;\n"), f"{DATABASE} cannot be unpacked"),
        (gzip.compress(b"SELECT 1;\n"), f"{DATABASE} is cut off"),
    ],
    ids=["damaged", "without its end"],
)
def test_of_a_dump_that_is_not_whole_postgresql_keeps_nothing(
    restore: Restore, content: bytes, reason: str
) -> None:
    restore.use(POSTGRESQL)
    (restore.folder / DATABASE).write_bytes(content)

    with pytest.raises(StackctlError) as ended:
        restore.run()

    assert ended.value.code == ExitCode.REFUSED
    assert reason in ended.value.problem and "nothing was changed" in ended.value.problem
    assert b"COMMIT" not in restore.given("database")
    assert restore.given("media") == b""


def test_cut_off_while_postgresql_loads_nothing_was_changed(restore: Restore) -> None:
    restore.use(POSTGRESQL)
    restore.interrupted_after(DATABASE, signal.SIGINT)

    with pytest.raises(InterruptedByUserError, match="interrupted; nothing was changed"):
        restore.run()

    assert b"COMMIT" not in restore.given("database")


def test_cut_off_when_postgresql_has_all_of_it_nobody_knows(
    restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore.use(replace(POSTGRESQL, dump_end=b""))
    pump_in = process.pump_in

    def pump(*command: str, pieces: Iterator[bytes]) -> process.Result:
        result = pump_in(*command, pieces=pieces)
        os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(process, "pump_in", pump)

    with pytest.raises(NotWholeError, match="the data may not be whole now"):
        restore.run()


def test_cut_off_among_the_media_files_it_says_so(restore: Restore) -> None:
    restore.use(replace(POSTGRESQL, dump_end=b""))
    restore.interrupted_after(MEDIA, signal.SIGTERM)

    with pytest.raises(NotWholeError) as ended:
        restore.run()

    assert "the media files could not be restored: interrupted" in ended.value.problem
    assert "the data are not whole now" in ended.value.problem


def test_a_failed_load_names_the_way_back(restore: Restore) -> None:
    restore.script = "echo no room >&2; exit 1 #{}"

    with pytest.raises(NotWholeError) as ended:
        restore.run()

    assert "the database could not be restored: no room" in ended.value.problem
    assert f"./stackctl restore {SAVED}\n" in ended.value.cure


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine without an image of the application; what was built and started."""
    did: dict[str, Any] = {"built": "", "started": ()}

    def build(project: compose.Project, name: str, *_: object) -> str:
        did["built"] = name
        return "sha256:new"

    def up(_: compose.Project, on_line: object, *services: str) -> process.Result:
        did["started"] = services
        return process.Result(0 if did["built"] else 1, "", "")

    monkeypatch.setattr(release, "from_git", lambda: release.Name("abc"))
    monkeypatch.setattr(release, "keep_running_images", lambda _: {})
    monkeypatch.setattr(deploy, "build", build)
    monkeypatch.setattr(engine, "image_id", lambda _: did["built"])
    monkeypatch.setattr(engine, "tag", lambda *_: None)
    monkeypatch.setattr(compose.Project, "up", up)
    return did


def test_on_a_new_machine_the_image_is_built_that_the_database_waits_for(
    machine: dict[str, Any],
) -> None:
    backup._start_database(fake_project(), Console(as_json=True))

    assert machine == {"built": "abc", "started": (compose.DATABASE,)}


def test_what_keeps_the_database_from_its_start_is_shown(
    machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "image_id", lambda _: "there")
    refused = container(service=compose.ENV_CHECK, running=False, status="exited", health="none")
    stopped = container(running=False, status="exited")
    found = {compose.ENV_CHECK: refused, "server2": stopped}
    monkeypatch.setattr(compose.Project, "containers", lambda _: found)
    monkeypatch.setattr(stack.engine, "exit_code", lambda _: 1)
    monkeypatch.setattr(stack.engine, "last_lines", lambda *_: "DB_PASSWORD is wrong")

    with pytest.raises(StackctlError, match="the database does not start") as ended:
        backup._start_database(fake_project(), Console(as_json=True))

    assert "DB_PASSWORD is wrong" in ended.value.cure
    assert "server2" not in ended.value.cure
