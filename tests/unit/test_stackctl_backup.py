"""Only complete backups are kept, and a restore changes nothing until everything is loaded."""

import errno
import gzip
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackctl_cli import backup, compose, deploy, engine, process, release, restore, stack
from stackctl_cli.backup import DATABASE, EXTRAS, MEDIA, Manifest
from stackctl_cli.console import Console
from stackctl_cli.databases import MYSQL, Server
from stackctl_cli.faults import (
    ExitCode,
    InterruptedByUserError,
    NotWholeError,
    StackctlError,
)
from tests.unit.test_stackctl_parts import container, fake_project

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SAVED = "20300101T000000Z-before-restore"


class Restore:
    """A restore whose database and media volume are files: one for each command that was run."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Save a backup, of MySQL."""
        self.folder, self.monkeypatch = folder, monkeypatch
        self.ran: list[str] = []
        # What each command does instead of writing down what it is given.
        self.instead: dict[str, str] = {}
        self.format = backup.FORMAT
        self.write(DATABASE, b"SELECT 1;\n" + MYSQL.dump_end)
        self.write(EXTRAS, b"GRANT")
        self.write(MEDIA, b"files")
        monkeypatch.setattr(backup, "running_database", lambda _: "db")
        monkeypatch.setattr(backup, "own_database", lambda _: MYSQL)
        monkeypatch.setattr(Server, "command", lambda _, __, *words: self.command(" ".join(words)))
        names = {restore.STAGE: "stage", restore.SWITCH: "exchange", restore._DISCARD: "discard"}
        monkeypatch.setattr(
            compose.Project, "once", lambda _, *words: self.command(names[words[-1]])
        )

    def write(self, name: str, content: bytes) -> None:
        """Make a part of the backup."""
        (self.folder / name).write_bytes(gzip.compress(content))

    def command(self, name: str) -> tuple[str, ...]:
        """Return the program that takes a part."""
        self.ran.append(name)
        return ("sh", "-c", self.instead.get(name, f"cat >'{self.folder / name}'"))

    def given(self, name: str) -> bytes:
        """Return what arrived."""
        path = self.folder / name
        return path.read_bytes() if path.exists() else b""

    def run(self, *, force: bool = False) -> None:
        """Load the backup."""
        manifest = Manifest(self.format, "mysite", "local", "abc", "now", {})
        load = restore._Load(fake_project(), self.folder, manifest, Console(as_json=True))
        load.run(SAVED, "wanted", force=force)

    def interrupted_after(self, name: str, number: int) -> None:
        """Have a signal come when a part's first piece is read."""

        def unzipped(path: Path) -> Iterator[bytes]:
            pieces = original(path)
            yield next(pieces)
            if path.name == name:
                os.kill(os.getpid(), number)
            yield from pieces

        original = backup.unzipped
        self.monkeypatch.setattr(backup, "unzipped", unzipped)


@pytest.fixture
def restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restore:
    """A backup, and where it goes."""
    return Restore(tmp_path, monkeypatch)


LOADED = ["prepare stackctl_restore", "load stackctl_restore", "stage"]
DISCARDED = ["remove stackctl_restore", "discard"]


def test_restore_switches_once_both_parts_are_loaded(restored: Restore) -> None:
    restored.run()

    assert restored.ran == [*LOADED, "switch stackctl_restore", "exchange"]
    assert restored.given("load stackctl_restore") == b"SELECT 1;\n" + MYSQL.dump_end
    assert restored.given("switch stackctl_restore") == b"GRANT"
    assert restored.given("stage") == b"files"


def test_restore_loads_a_backup_of_the_former_format_as_the_application(restored: Restore) -> None:
    restored.format = 1
    (restored.folder / EXTRAS).unlink()

    restored.run()

    assert "load stackctl_restore application" in restored.ran
    assert restored.given("switch stackctl_restore") == b""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("part", [DATABASE, MEDIA])
def test_interrupted_restore_changes_nothing(restored: Restore, part: str, number: int) -> None:
    restored.interrupted_after(part, number)
    before = signal.getsignal(number)

    with pytest.raises(InterruptedByUserError, match="interrupted; nothing was changed"):
        restored.run()

    assert restored.ran[-2:] == DISCARDED
    assert not any("switch" in name for name in restored.ran)
    # A later signal ends the command as any other.
    assert signal.getsignal(number) == before


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
def test_restore_of_an_incomplete_dump_changes_nothing(
    restored: Restore, content: bytes, reason: str
) -> None:
    (restored.folder / DATABASE).write_bytes(content)

    with pytest.raises(StackctlError) as ended:
        restored.run()

    assert ended.value.code == ExitCode.REFUSED
    assert reason in ended.value.problem and "nothing was changed" in ended.value.problem
    assert restored.ran == [*LOADED[:2], *DISCARDED]


@pytest.mark.parametrize("command", [*LOADED, "switch stackctl_restore"])
def test_restore_that_cannot_load_or_switch_changes_nothing(
    restored: Restore, command: str
) -> None:
    code = restore.UNTOUCHED if command.startswith("switch") else 1
    restored.instead[command] = f"cat >/dev/null; echo no room >&2; exit {code}"

    with pytest.raises(StackctlError, match="no room; nothing was changed") as ended:
        restored.run()

    assert ended.value.code == ExitCode.REFUSED
    assert restored.ran[-3:] == [command, *DISCARDED]


@pytest.mark.parametrize(
    ("command", "code"),
    # 137: the container was killed, and the script could say nothing.
    [*(("switch stackctl_restore", code) for code in (1, 137)), ("exchange", 1)],
)
def test_restore_that_fails_after_the_switch_names_the_backup_of_before(
    restored: Restore, command: str, code: int
) -> None:
    restored.instead[command] = f"cat >/dev/null; echo no room >&2; exit {code}"

    with pytest.raises(NotWholeError, match="no room; the data may not be whole now") as ended:
        restored.run(force=True)

    assert ended.value.code == ExitCode.NOT_WHOLE
    assert f"./stackctl restore {SAVED} --force\n" in ended.value.cure
    assert "./stackctl restore wanted --force\n" in ended.value.cure


def test_interrupted_switch_completes(restored: Restore) -> None:
    restored.instead["switch stackctl_restore"] = f"cat >/dev/null; kill -INT {os.getpid()}"

    restored.run()

    assert restored.ran[-1] == "exchange"


class Backup(Restore):
    """A backup of a database whose commands are files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have everything go well."""
        super().__init__(folder, monkeypatch)
        tar = "tar --create --file - --files-from /dev/null"
        dump = f"echo row; echo '{MYSQL.dump_end.decode()}'"
        self.instead = {
            "dump": dump,
            "dump stackctl_verify": dump,
            "extras": "echo GRANT",
            "inventory ": "echo tables a",
            "inventory stackctl_verify": "echo tables a",
            "pack": tar,
        }
        monkeypatch.setattr(backup, "folder", lambda _: folder / "backups")
        (folder / "backups").mkdir()
        monkeypatch.setattr(compose.Project, "containers", lambda _: {})
        monkeypatch.setattr(compose.Project, "once", lambda *_: self.command("pack"))

    def save(self) -> Manifest:
        """Save it, verified."""
        return backup.save(fake_project(), Console(as_json=True), verify=True)[1]

    def kept(self) -> list[Path]:
        """Return what is in the backups' folder."""
        return list((self.folder / "backups").iterdir())


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backup:
    """A database to save."""
    return Backup(tmp_path, monkeypatch)


def test_verified_backup_was_loaded_and_is_kept(saved: Backup) -> None:
    manifest = saved.save()

    assert manifest.verified and set(manifest.parts) == {DATABASE, EXTRAS, MEDIA}
    assert len(saved.kept()) == 1
    assert b"row" in saved.given("load stackctl_verify")
    assert saved.ran[-1] == "remove stackctl_verify"


@pytest.mark.parametrize(
    ("command", "script", "reason"),
    [
        ("dump", "echo row", "cut off"),
        ("dump", "echo row; echo gone >&2; exit 3", "could not be saved: gone"),
        ("extras", "exit 3", "extras.sql.gz could not be saved"),
        ("load stackctl_verify", "cat >/dev/null; echo too long >&2; exit 1", "too long"),
        ("dump stackctl_verify", "echo another row", "the contents"),
        ("inventory ", "echo tables a; echo events b", "events b"),
        ("pack", "head -c 700 /dev/urandom", "cannot be loaded"),
    ],
)
def test_backup_that_is_not_complete_is_not_kept(
    saved: Backup, command: str, script: str, reason: str
) -> None:
    saved.instead[command] = script

    with pytest.raises(StackctlError, match=reason):
        saved.save()

    assert saved.kept() == []


def test_backup_before_a_restore_names_what_it_leaves_out(
    saved: Backup, capsys: pytest.CaptureFixture[str]
) -> None:
    saved.instead["dump  lenient"] = f"echo 'left out: the view a' >&2; {saved.instead['dump']}"

    backup.save(fake_project(), Console(as_json=True), lenient=True)

    assert "warning: left out: the view a" in capsys.readouterr().err
    assert len(saved.kept()) == 1


def test_backup_on_a_full_disk_is_not_kept(saved: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left"))
    )

    with pytest.raises(OSError, match="No space left"):
        saved.save()

    assert saved.kept() == []


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
    restore._start_database(fake_project(), Console(as_json=True))

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
        restore._start_database(fake_project(), Console(as_json=True))

    assert "DB_PASSWORD is wrong" in ended.value.cure
    assert "server2" not in ended.value.cure
