"""`stackctl backup` and `restore`, run whole: only complete backups are kept and restored."""

import gzip
import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scripted.data import LIVE, unpacked
from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import IMAGE, NAME
from tests.unit.scripted.stack import Ended, Stack, fails, interrupts
from tools.stackctl.commands import backup
from tools.stackctl.commands.backup import DATABASE, EXTRAS, MANIFEST, MEDIA
from tools.stackctl.common import process
from tools.stackctl.inside.databases import MYSQL

SAVED = ["database dump", "database extras", "save media"]
VERIFIED = [
    *("database prepare stackctl_verify", "database load stackctl_verify"),
    *("database dump stackctl_verify", "database extras", "database inventory"),
    *("database inventory stackctl_verify", "database remove stackctl_verify"),
]
LOADED = ["database prepare stackctl_restore", "database load stackctl_restore", "unpack media"]
SWITCHED = ["database switch stackctl_restore", "switch media"]
DISCARDED = ["database remove stackctl_restore", "discard media"]


def folders(stack: Stack) -> list[Path]:
    """Return what is in the folder of the stack's backups, the oldest first."""
    top = stack.root / "backups" / NAME
    return sorted(top.iterdir()) if top.exists() else []


def save(stack: Stack, *options: str) -> Ended:
    return stack.run("backup", "--json", *options)


def stop(stack: Stack) -> None:
    for name in ("server1", "server2", "worker"):
        stack.containers[name].status = "exited"


@pytest.fixture
def saved(stack: Stack) -> Stack:
    """A stack with a backup, whose data are others now, and whose servers are stopped."""
    assert save(stack).code == 0
    stack.data.rows[LIVE] = ["b.png"]
    stack.data.media = {"b.png": b"B"}
    stop(stack)
    return stack


def restore(stack: Stack, *options: str) -> Ended:
    return stack.run("restore", folders(stack)[0].name, "--json", *options)


def is_restored(stack: Stack) -> bool:
    return stack.data.rows == {LIVE: ["a.png"]} and stack.data.media == {"a.png": b"A"}


def is_unchanged(stack: Stack) -> bool:
    return stack.data.rows[LIVE] == ["b.png"] and stack.data.media == {"b.png": b"B"}


def test_backup_saves_every_part_for_its_owner_alone(stack: Stack) -> None:
    ended = save(stack)

    assert ended.code == 0 and stack.steps[-3:] == SAVED and not stack.locks
    (path,) = folders(stack)
    assert ended.result["path"] == str(path) and not ended.result["verified"]
    assert sorted(file.name for file in path.iterdir()) == sorted(
        [DATABASE, EXTRAS, MEDIA, MANIFEST]
    )
    assert path.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o600}
    assert (path.parent.parent / ".gitignore").read_text() == "*\n"
    manifest = json.loads((path / MANIFEST).read_text())
    assert manifest["release"] == "aaaa" and manifest["layer"] == "local"
    assert manifest["parts"][EXTRAS]["bytes"] == (path / EXTRAS).stat().st_size
    assert gzip.decompress((path / EXTRAS).read_bytes()) == b"GRANT"
    assert backup.checked(path).database == "MySQL"


def test_no_row_of_a_backup_names_a_file_that_it_has_not(stack: Stack) -> None:
    """Visitors upload all the while: the database is saved first."""
    names = iter("bcde")
    stack.data.meanwhile = lambda: stack.data.upload(f"{next(names)}.png")

    save(stack)

    (path,) = folders(stack)
    rows = gzip.decompress((path / DATABASE).read_bytes()).decode().splitlines()[:-1]
    files = unpacked(gzip.decompress((path / MEDIA).read_bytes()))
    assert rows == ["a.png", "b.png"] and set(rows) <= set(files)


def test_verified_backup_is_loaded_and_compared(stack: Stack) -> None:
    ended = save(stack, "--verify")

    assert stack.steps[-10:] == [*SAVED, *VERIFIED]
    assert ended.result["verified"] is True and LIVE in stack.data.rows
    assert list(stack.data.rows) == [LIVE]


INCOMPLETE: dict[str, tuple[str, Callable[[], Reply | None], str]] = {
    "cut off": ("database dump", lambda: Reply(data=b"a row\n"), "the database's dump is cut off"),
    "dump": ("database dump", fails("gone away", 3), f"{DATABASE} could not be saved: gone away"),
    "extras": ("database extras", fails("denied"), f"{EXTRAS} could not be saved: denied"),
    "media": ("save media", fails("no volume"), f"{MEDIA} could not be saved: no volume"),
    "prepare": (VERIFIED[0], fails("no room"), "cannot be loaded, and was not kept: no room"),
    "load": (VERIFIED[1], fails("too long"), "cannot be loaded, and was not kept: too long"),
    "again": (VERIFIED[2], fails("gone"), "cannot be loaded, and was not kept: gone"),
    "rows": (VERIFIED[2], lambda: Reply(data=b"another"), "was not kept: the contents"),
    "names": (VERIFIED[5], lambda: Reply(out="tables other"), "not kept: tables other, tables up"),
    "archive": ("save media", lambda: Reply(data=os.urandom(700)), "cannot be loaded"),
}


@pytest.mark.parametrize(("step", "fault", "words"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_backup_that_is_not_complete_is_not_kept(
    stack: Stack, step: str, fault: Callable[[], Reply | None], words: str
) -> None:
    stack.faults[step] = fault

    ended = save(stack, "--verify")

    assert ended.code == 1 and words in ended.result["error"] and ended.result["next"]
    assert folders(stack) == [] and not stack.locks
    assert list(stack.data.rows) == [LIVE]


def test_backup_whose_accounts_changed_meanwhile_is_not_kept(stack: Stack) -> None:
    seen = iter([None, Reply(data=b"GRANT more")])
    stack.faults["database extras"] = lambda: next(seen)

    ended = save(stack, "--verify")

    assert ended.code == 1 and folders(stack) == []
    assert "was not kept: accounts, roles or events" in ended.result["error"]


@pytest.mark.parametrize("step", dict.fromkeys([*SAVED, *VERIFIED[:-1]]))
def test_interrupted_backup_is_not_kept(stack: Stack, step: str) -> None:
    stack.faults[step] = interrupts

    ended = save(stack, "--verify")

    assert ended.code == 130 and ended.result["error"] == "interrupted"
    assert folders(stack) == [] and not stack.locks
    assert list(stack.data.rows) == [LIVE]


def test_backup_on_a_full_disk_is_not_kept(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    ended = save(stack)

    assert ended.code == 1 and "No space left on device" in ended.result["error"]
    assert "Make room on that disk" in ended.result["next"] and folders(stack) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: s.containers.pop("db"), "the database is not running"),
        (lambda s: setattr(s.containers["db"], "status", "exited"), "the database is not running"),
        (
            lambda s: (s.root / ".env").write_text("DB_HOST=elsewhere\n"),
            "the application's database is not this stack's MySQL or PostgreSQL",
        ),
        (
            lambda s: (s.root / ".env").write_text("DATABASE_URL=mysql://elsewhere/db\n"),
            "the application's database is not this stack's MySQL or PostgreSQL",
        ),
        (
            lambda s: s.extra.update(db={"image": "mariadb:12"}),
            "the application's database is not this stack's MySQL or PostgreSQL",
        ),
    ],
)
def test_backup_of_another_database_is_refused(
    stack: Stack, change: Callable[[Stack], object], problem: str
) -> None:
    change(stack)

    ended = save(stack)

    assert ended.code == 1 and problem in ended.result["error"] and ended.result["next"]
    assert folders(stack) == [] and not any("database" in step for step in stack.steps)


def test_restore_saves_what_is_there_then_loads_then_switches(saved: Stack) -> None:
    ended = restore(saved)

    assert saved.steps == ["lock restore", "up db", *SAVED, *LOADED, *SWITCHED]
    assert ended.code == 0 and is_restored(saved) and not saved.locks
    before = folders(saved)[1]
    assert before.name.endswith("-before-restore")
    assert gzip.decompress((before / DATABASE).read_bytes()).startswith(b"b.png\n")
    assert "warning: left out: the view broken" in ended.err
    assert f"what was there is in backups/{NAME}/{before.name}" in ended.err
    assert "./stackctl up starts the stack" in ended.err
    assert saved.data.loaded_as == ""

    # And back.
    stop(saved)
    assert saved.run("restore", str(before)).code == 0 and is_unchanged(saved)


def test_restore_of_the_former_format_loads_as_the_application(saved: Stack) -> None:
    (path,) = folders(saved)
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest["parts"][EXTRAS], manifest["database"]
    (path / MANIFEST).write_text(json.dumps({**manifest, "format": 1}))
    (path / EXTRAS).unlink()

    assert restore(saved).code == 0

    assert saved.data.loaded_as == "application" and saved.data.extras == b""
    assert is_restored(saved)


def test_restore_of_the_second_format_loads_as_the_administrator(saved: Stack) -> None:
    """It has extras, as the present one, and no private files."""
    path = folders(saved)[0] / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))

    assert restore(saved).code == 0

    assert saved.data.loaded_as != "application" and saved.data.extras
    assert is_restored(saved)


def test_restore_under_running_servers_needs_force(saved: Stack) -> None:
    saved.containers["server2"].status = "running"
    saved.containers["worker"].status = "running"

    ended = restore(saved)

    assert ended.code == 1 and is_unchanged(saved) and saved.steps == ["lock restore"]
    assert "the stack is running (server2, worker)" in ended.result["error"]
    assert ended.result["next"].startswith("Stop it first: docker compose stop server2 worker.")

    assert restore(saved, "--force").code == 0 and is_restored(saved)


def rewritten(**changes: object) -> Callable[[Stack, Path], object]:
    """Return what changes a backup's manifest."""

    def change(_: Stack, path: Path) -> None:
        manifest = json.loads((path / MANIFEST).read_text())
        (path / MANIFEST).write_text(json.dumps({**manifest, **changes}))

    return change


def damaged(part: str) -> Callable[[Stack, Path], object]:
    """Return what changes one byte of a part."""

    def change(_: Stack, path: Path) -> None:
        content = bytearray((path / part).read_bytes())
        content[-1] ^= 1
        (path / part).write_bytes(content)

    return change


UNFIT: dict[str, tuple[Callable[[Stack, Path], object], str]] = {
    **{
        part: (damaged(part), f"{part} is missing, or not what was saved (wrong checksum)")
        for part in (DATABASE, EXTRAS, MEDIA)
    },
    "missing": (lambda _, path: (path / MEDIA).unlink(), f"{MEDIA} is missing"),
    "layer": (rewritten(layer="production"), "of the production layer, and this is local"),
    "database": (rewritten(database="PostgreSQL"), "of PostgreSQL, and the stack's database is"),
    "format": (rewritten(format=4), "has the format 4, and this release of stackctl knows 1 to 3"),
    "parts": (rewritten(parts={}), f"{MANIFEST} cannot be read"),
    "more": (rewritten(other=1), f"{MANIFEST} cannot be read"),
    "no JSON": (lambda _, path: (path / MANIFEST).write_text("{"), f"{MANIFEST} cannot be read"),
    "database down": (
        lambda s, _: s.faults.update({"up db": fails("port is taken")}),
        "the database does not start; nothing was changed",
    ),
    "not saved": (
        lambda s, _: s.faults.update({"save media": fails("no volume")}),
        f"{MEDIA} could not be saved",
    ),
}


@pytest.mark.parametrize(("change", "words"), UNFIT.values(), ids=UNFIT)
def test_restore_of_an_unfit_backup_is_refused(
    saved: Stack, change: Callable[[Stack, Path], object], words: str
) -> None:
    change(saved, folders(saved)[0])

    ended = restore(saved)

    assert ended.code == 1 and words in ended.result["error"] and ended.result["next"]
    assert is_unchanged(saved) and not saved.locks and not set(saved.steps) & set(LOADED)
    assert len(folders(saved)) == 1


def test_restore_of_another_layer_needs_force(saved: Stack) -> None:
    rewritten(layer="production")(saved, folders(saved)[0])

    assert restore(saved, "--force").code == 0 and is_restored(saved)


def test_restore_without_a_name_lists_the_backups(saved: Stack) -> None:
    ended = saved.run("restore", "--json")

    assert (ended.code, ended.result["error"]) == (2, "say which backup")
    assert ended.result["next"] == f"There are: {folders(saved)[0].name}."
    ended = saved.run("restore", "nosuch", "--json")
    assert (ended.code, ended.result["error"]) == (2, "there is no backup 'nosuch'")
    shutil.rmtree(folders(saved)[0])
    assert "./stackctl backup makes one" in saved.run("restore", "--json").result["next"]


@pytest.mark.parametrize("step", [*LOADED, "database switch stackctl_restore"])
def test_restore_that_fails_before_the_switch_changes_nothing(saved: Stack, step: str) -> None:
    saved.faults[step] = fails("no room", 8 if "switch" in step else 1)

    ended = restore(saved)

    assert ended.code == 1 and ended.result["error"].endswith("no room; nothing was changed")
    assert saved.steps[-3:] == [step, *DISCARDED] and is_unchanged(saved)
    assert list(saved.data.rows) == [LIVE] and saved.data.staged == {}


@pytest.mark.parametrize(("step", "code"), [(SWITCHED[0], 1), (SWITCHED[0], 137), (SWITCHED[1], 1)])
def test_restore_that_fails_in_the_switch_names_the_backup_of_before(
    saved: Stack, step: str, code: int
) -> None:
    """137: the container was killed, and the script could say nothing."""
    saved.faults[step] = fails("no room", code)

    ended = restore(saved, "--force")

    first, before = folders(saved)
    assert ended.code == ended.result["code"] == 5
    assert ended.result["error"].endswith("no room; the data may not be whole now")
    assert f"./stackctl restore {before.name} --force\n" in ended.result["next"]
    assert f"./stackctl restore {first.name} --force\n" in ended.result["next"]
    # What is left is needed for the next try.
    assert not set(DISCARDED) & set(saved.steps)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", LOADED)
def test_interrupted_load_changes_nothing(saved: Stack, step: str, number: int) -> None:
    before = signal.getsignal(number)
    saved.faults[step] = partial(signal.raise_signal, number)

    ended = restore(saved)

    assert ended.code == 130
    assert ended.result["error"] == "interrupted; nothing was changed"
    assert saved.steps[-3:] == [step, *DISCARDED] and is_unchanged(saved)
    # A later signal ends the command as any other.
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("step", SWITCHED)
def test_interrupted_switch_completes(saved: Stack, step: str) -> None:
    saved.faults[step] = interrupts

    ended = restore(saved)

    assert ended.code == 0 and is_restored(saved)
    assert "interrupted: the restore completes first" in ended.err


def test_what_cannot_be_removed_is_warned_of(saved: Stack) -> None:
    saved.faults[LOADED[1]] = fails("no room")
    saved.faults[DISCARDED[0]] = fails("gone")

    ended = restore(saved)

    assert ended.code == 1 and "not removed until the next restore: gone" in ended.err
    assert saved.steps[-1] == "discard media"


@pytest.mark.parametrize(
    ("dump", "reason"),
    [
        (
            gzip.compress(b"x\n" + os.urandom(3 * process.PIECE_BYTES))[: -process.PIECE_BYTES],
            f"{DATABASE} cannot be unpacked",
        ),
        (gzip.compress(b"a.png\n"), f"{DATABASE} is cut off"),
        (gzip.compress(b""), f"{DATABASE} is cut off"),
    ],
    ids=["damaged", "without its end", "empty"],
)
def test_restore_of_an_incomplete_dump_changes_nothing(
    saved: Stack, dump: bytes, reason: str
) -> None:
    """As it was saved: its checksum is right."""
    (path,) = folders(saved)
    (path / DATABASE).write_bytes(dump)
    parts: dict[str, Any] = json.loads((path / MANIFEST).read_text())["parts"]
    parts[DATABASE]["sha256"] = backup._sha256(path / DATABASE)
    rewritten(parts=parts)(saved, path)

    ended = restore(saved)

    assert ended.code == 1 and reason in ended.result["error"]
    assert ended.result["error"].endswith("; nothing was changed")
    assert saved.steps[-2:] == DISCARDED and is_unchanged(saved)


def test_on_a_new_machine_restore_builds_the_image_that_the_database_waits_for(
    saved: Stack,
) -> None:
    for name in [name for name in saved.images if name.startswith(IMAGE)]:
        del saved.images[name]
    saved.containers.clear()

    assert restore(saved).code == 0
    assert saved.steps[1:4] == ["build aaaa", "name aaaa latest", "up db"]
    assert is_restored(saved)


def test_what_keeps_the_database_from_its_start_is_shown(saved: Stack) -> None:
    saved.behave("aaaa", log="DB_PASSWORD is wrong")
    saved.create("env-check").status = "exited"
    saved.containers["env-check"].exit_code = 1
    saved.faults["up db"] = fails("dependency failed to start")

    ended = restore(saved)

    assert "env-check is exited" in ended.result["next"]
    assert "DB_PASSWORD is wrong" in ended.result["next"]
    assert "server2" not in ended.result["next"]
    assert "dependency failed to start" in ended.err


def test_the_dump_s_end_is_found_at_the_end_alone(stack: Stack) -> None:
    stack.faults["database dump"] = lambda: Reply(
        data=MYSQL.dump_end + b"\n" + b"a row\n" * backup.TAIL_BYTES
    )

    assert save(stack).code == 1 and folders(stack) == []
