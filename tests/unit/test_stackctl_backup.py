"""`stackctl backup` from start to end: only complete backups are kept."""

import gzip
import json
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.scripted.backups import (
    SAVED,
    VERIFIED,
    folders,
    save,
    stop,
)
from tests.unit.scripted.data import LIVE, unpacked
from tests.unit.scripted.model import Reply
from tests.unit.scripted.stack import Stack, fails, interrupts
from tools.stackctl.commands import backup_files as files
from tools.stackctl.commands.backup_files import DATABASE, EXTRAS, MANIFEST, MEDIA
from tools.stackctl.inside.databases import MYSQL


def test_backup_saves_every_part_in_private_files(stack: Stack) -> None:
    ended = save(stack)

    assert ended.code == 0 and stack.steps[-3:] == SAVED and not stack.locks
    (path,) = folders(stack)
    assert ended.result["path"] == str(path) and not ended.result["verified"]
    assert sorted(file.name for file in path.iterdir()) == sorted(
        [DATABASE, EXTRAS, MEDIA, MANIFEST]
    )
    assert {each.stat().st_mode & 0o777 for each in (path, path.parent)} == {0o700}
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o600}
    manifest = json.loads((path / MANIFEST).read_text())
    assert manifest["release"] == "aaaa" and manifest["layer"] == "local"
    assert manifest["parts"][EXTRAS]["bytes"] == (path / EXTRAS).stat().st_size
    assert gzip.decompress((path / EXTRAS).read_bytes()) == b"GRANT"
    assert files.checked(path).database == "MySQL"


def test_backup_has_every_file_that_its_rows_name(stack: Stack) -> None:
    """The database is saved before files, while visitors upload."""
    names = iter("bcde")
    stack.data.meanwhile = lambda: stack.data.upload(f"{next(names)}.png")

    save(stack)

    (path,) = folders(stack)
    rows = gzip.decompress((path / DATABASE).read_bytes()).decode().splitlines()[:-1]
    files = unpacked(gzip.decompress((path / MEDIA).read_bytes()))
    assert rows == ["a.png", "b.png"] and set(rows) <= set(files)


def test_backup_removes_what_a_killed_one_left_and_nothing_of_a_running_one(stack: Stack) -> None:
    """What is left has the database, not encrypted."""
    save(stack)
    parent = folders(stack)[0].parent
    killed = parent / ".20200101T000000Z.partial"
    killed.mkdir()
    (killed / DATABASE).touch()

    project: Any = SimpleNamespace(name=parent.name)
    with files.incomplete(project, "-running") as running:
        assert not killed.exists()
        save(stack)
        assert running.is_dir()
    assert not running.exists()


def test_backup_with_verify_is_loaded_and_compared(stack: Stack) -> None:
    ended = save(stack, "--verify")

    assert stack.steps[-10:] == [*SAVED, *VERIFIED]
    assert ended.result["verified"] is True and LIVE in stack.data.rows
    assert list(stack.data.rows) == [LIVE]


INCOMPLETE: dict[str, tuple[str, Callable[[], Reply | None], str]] = {
    "cut off": ("database dump", lambda: Reply(data=b"a row\n"), "the database dump is incomplete"),
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
def test_incomplete_backup_is_not_kept(
    stack: Stack, step: str, fault: Callable[[], Reply | None], words: str
) -> None:
    stack.faults[step] = fault

    ended = save(stack, "--verify")

    assert ended.code == 1 and words in ended.result["error"] and ended.result["next"]
    assert folders(stack) == [] and not stack.locks
    assert list(stack.data.rows) == [LIVE]


def test_backup_is_not_kept_when_accounts_change_meanwhile(stack: Stack) -> None:
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
    assert "Free space on that disk" in ended.result["next"] and folders(stack) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: s.containers.pop("db"), "the database is not running"),
        (lambda s: setattr(s.containers["db"], "status", "exited"), "the database is not running"),
        (
            lambda s: s.containers["db"].environ.pop("MYSQL_DATABASE"),
            "the running database is not MySQL",
        ),
        (
            lambda s: (s.root / ".env").write_text("DB_HOST=elsewhere\n"),
            "the application's database is not the one of this stack",
        ),
        (
            lambda s: (s.root / ".env").write_text("DATABASE_URL=mysql://elsewhere/db\n"),
            "the application's database is not the one of this stack",
        ),
        (
            lambda s: s.extra.update(db={"image": "mariadb:12"}),
            "the application's database is not the one of this stack",
        ),
    ],
)
def test_backup_of_an_external_or_stopped_database_is_refused(
    stack: Stack, change: Callable[[Stack], object], problem: str
) -> None:
    change(stack)

    ended = save(stack)

    assert ended.code == 1 and problem in ended.result["error"] and ended.result["next"]
    assert folders(stack) == [] and not any("database" in step for step in stack.steps)


def test_backup_requires_the_end_mark_at_the_end_of_the_dump(stack: Stack) -> None:
    stack.faults["database dump"] = lambda: Reply(
        data=MYSQL.dump_end + b"\n" + b"a row\n" * files.TAIL_BYTES
    )

    assert save(stack).code == 1 and folders(stack) == []


def test_keep_removes_old_backups_after_a_good_one_only(stack: Stack) -> None:
    """What a restore replaced stays."""
    for _ in range(3):
        save(stack)
    first = folders(stack)[0]
    replaced = first.rename(first.with_name(f"{first.name}-before-restore"))
    stack.faults["save media"] = fails("no volume")
    before = folders(stack)
    assert save(stack, "--keep", "1").code == 1 and folders(stack) == before

    stack.faults.clear()
    ended = save(stack, "--keep", "2")

    names = [path.name for path in folders(stack)]
    assert len(names) == 3 and replaced.name in names and ended.result["path"][-16:] in names
    assert f"removed backups/{first.parent.name}/{before[1].name}" in ended.err


def test_latest_is_the_newest_complete_backup(stack: Stack) -> None:
    save(stack)
    newest = save(stack).result["path"]
    stop(stack)

    # The first one saves the present data.
    for _ in "12":
        ended = stack.run("restore", "latest", "--json")
        assert ended.code == 0 and ended.result["path"] == newest


@pytest.mark.parametrize(
    ("variables", "problem", "hint"),
    [
        ("BACKUP_TO=/mnt/x", "BACKUP_PASSWORD is not set", "openssl rand -hex 32"),
        ("BACKUP_TO=nas", "BACKUP_TO: 'nas' is no place for backups", "s3://BUCKET/FOLDER"),
        (
            "BACKUP_TO=sftp://me@nas/x\nBACKUP_PASSWORD=x",
            "BACKUP_SSH_KEY is not set",
            "BACKUP_SSH_KEY_FILE=",
        ),
        (
            "BACKUP_TO=sftp://me@nas/x\nBACKUP_PASSWORD=x\nBACKUP_SSH_KEY=k",
            "BACKUP_SSH_HOST_KEY is not set",
            "ssh-keyscan -t ed25519 nas",
        ),
    ],
)
def test_place_without_its_variables_is_refused(
    stack: Stack, variables: str, problem: str, hint: str
) -> None:
    (stack.root / ".env").write_text(f"{variables}\n")

    ended = save(stack)

    assert ended.code == 1 and problem in ended.result["error"] and hint in ended.result["next"]
    assert folders(stack) == [] and not stack.locks
