"""`stackctl restore` of a backup that is in another place, whose restic is scripted."""

import gzip

import pytest

from tests.unit.scripted.backups import (
    DISK,
    PASSWORD,
    folders,
    names,
    save,
    stop,
    write_place,
)
from tests.unit.scripted.data import LIVE
from tests.unit.scripted.model import Reply
from tests.unit.scripted.restic import Repository, Snapshot
from tests.unit.scripted.stack import Stack, fails
from tools.stackctl.commands.backup_files import DATABASE, MEDIA


@pytest.fixture
def empty(away: Stack) -> Stack:
    """Return a stopped stack on a new machine, with two backups in the place."""
    save(away)
    away.data.rows[LIVE] = ["b.png"]
    away.data.media = {"b.png": b"B"}
    save(away)
    away.data.rows[LIVE], away.data.media = [], {}
    stop(away)
    return away


def restore(stack: Stack, name: str, *options: str) -> tuple[int, dict[str, object]]:
    ended = stack.run("restore", name, "--json", *options)
    return ended.code, ended.result


def test_latest_backup_of_the_place_is_restored(empty: Stack) -> None:
    newest = names(empty)[-1]

    code, result = restore(empty, "latest")

    assert code == 0 and str(result["path"]).endswith(newest)
    assert empty.data.rows == {LIVE: ["b.png"]} and empty.data.media == {"b.png": b"B"}
    # It stays, as one that was saved here.
    assert newest in [path.name for path in folders(empty)]


def test_latest_is_that_of_the_place_although_an_older_one_is_here(empty: Stack) -> None:
    restore(empty, names(empty)[0])

    assert restore(empty, "latest")[0] == 0

    assert empty.data.rows == {LIVE: ["b.png"]}


def test_backup_of_the_place_is_restored_by_its_name(empty: Stack) -> None:
    first = names(empty)[0]

    assert restore(empty, first)[0] == 0
    assert empty.data.rows == {LIVE: ["a.png"]} and empty.data.media == {"a.png": b"A"}


def test_fetched_backup_is_private_and_is_not_fetched_again(empty: Stack) -> None:
    first = names(empty)[0]
    restore(empty, first)
    (path,) = [one for one in folders(empty) if one.name == first]
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o600}
    assert gzip.decompress((path / DATABASE).read_bytes()).startswith(b"a.png\n")

    assert restore(empty, first, "--from", DISK)[0] == 0
    assert "restic dump" not in empty.steps


def test_backup_of_another_stack_is_restored_by_its_project(empty: Stack) -> None:
    repository = empty.places.repositories[DISK]
    mine = repository.snapshots[0]
    repository.snapshots.append(Snapshot("d" * 64, "other", "20400101T000000Z", mine.files))

    code, result = restore(empty, "latest")
    assert code == 0 and "2040" not in str(result["path"])

    assert restore(empty, "20400101T000000Z")[0] == 2
    assert restore(empty, "other/20400101T000000Z", "--force")[0] == 0
    assert empty.data.rows == {LIVE: ["a.png"]}


def test_backup_of_another_stack_is_not_confused_with_one_of_the_same_second(empty: Stack) -> None:
    repository = empty.places.repositories[DISK]
    newest = names(empty)[-1]
    files = repository.snapshots[0].files
    repository.snapshots.append(Snapshot("d" * 64, "other", newest, files))
    assert restore(empty, newest)[0] == 0
    assert empty.data.rows == {LIVE: ["b.png"]}

    assert restore(empty, f"other/{newest}", "--force")[0] == 0
    assert empty.data.rows == {LIVE: ["a.png"]}


def test_unknown_backup_lists_those_of_the_place(empty: Stack) -> None:
    empty.places.repositories[DISK].snapshots.append(
        Snapshot("e" * 64, "shop", "before-the-move", {})
    )

    code, result = restore(empty, "20200101T000000Z")

    assert code == 2 and "there is no backup '20200101T000000Z'" in str(result["error"])
    listed = str(result["next"])
    assert all(name in listed for name in names(empty)[:2]) and "before-the-move" not in listed


def test_place_without_a_backup_of_this_stack_lists_those_of_others(empty: Stack) -> None:
    empty.places.repositories[DISK].snapshots = [
        Snapshot("d" * 64, "other", "20400101T000000Z", {})
    ]

    code, result = restore(empty, "latest")

    assert code == 2 and "other/20400101T000000Z" in str(result["next"])


def test_restore_creates_no_place(empty: Stack) -> None:
    empty.places.repositories.clear()

    code, result = restore(empty, "latest")

    assert code == 1 and "there are no backups in" in str(result["error"])
    assert not empty.places.repositories


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_backup_that_cannot_be_fetched_whole_is_not_kept(empty: Stack, step: int) -> None:
    """The database, its extras, the files and the manifest are fetched one at a time."""
    left = iter([None] * (step - 1))

    def fail() -> Reply | None:
        return next(left, Reply(1, err="Fatal: pack damaged"))

    empty.faults["restic dump"] = fail

    code, result = restore(empty, "latest")

    assert code == 1 and "pack damaged" in str(result["error"]) and result["next"]
    assert folders(empty) == [] and empty.data.rows == {LIVE: []}


def test_place_of_the_command_line_precedes_the_one_of_dotenv(empty: Stack) -> None:
    empty.places.folders.add("/mnt/second")
    empty.places.repositories["/mnt/second"] = Repository(PASSWORD)

    code, result = restore(empty, "latest", "--from", "/mnt/second")

    assert code == 2 and "/mnt/second" in str(result["error"])


def test_backup_on_this_machine_is_restored_while_the_place_is_down(away: Stack) -> None:
    save(away, "--local")
    name = folders(away)[0].name
    away.data.media = {}
    stop(away)
    away.faults["restic unlock"] = fails("Fatal: the server went away")

    assert restore(away, name)[0] == 0
    assert away.data.media == {"a.png": b"A"} and (folders(away)[0] / MEDIA).is_file()


def test_place_that_is_down_is_named(empty: Stack) -> None:
    write_place(empty, to="s3:http://nas:9000/backups/shop")
    empty.faults["restic unlock"] = fails("Fatal: dial tcp: connection refused")

    code, result = restore(empty, "latest")

    assert code == 1 and result["error"] == (
        "s3:http://nas:9000/backups/shop: dial tcp: connection refused"
    )
