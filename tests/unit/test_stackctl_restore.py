"""`stackctl restore` from start to end: what it restores, and which backups it refuses."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.scripted.backups import (
    LOADED,
    SAVED,
    SWITCHED,
    folders,
    is_restored,
    is_unchanged,
    replace_dump,
    restore,
    rewritten,
    stop,
)
from tests.unit.scripted.data import LIVE
from tests.unit.scripted.project import IMAGE, NAME
from tests.unit.scripted.stack import Stack, fails
from tools.stackctl.commands.backup_files import DATABASE, EXTRAS, MANIFEST, MEDIA
from tools.stackctl.common import process


def test_restore_saves_the_present_data_then_loads_then_switches(saved: Stack) -> None:
    ended = restore(saved)

    assert saved.steps == ["lock restore", "up db", *SAVED, *LOADED, *SWITCHED]
    assert ended.code == 0 and is_restored(saved) and not saved.locks
    before = folders(saved)[1]
    assert before.name.endswith("-before-restore")
    assert gzip.decompress((before / DATABASE).read_bytes()).startswith(b"b.png\n")
    assert "warning: left out: the view broken" in ended.err
    assert f"the former data is in backups/{NAME}/{before.name}" in ended.err
    assert "./stackctl up starts the stack" in ended.err
    assert saved.data.loaded_as == ""

    # Restore the previous data.
    stop(saved)
    assert saved.run("restore", str(before)).code == 0 and is_unchanged(saved)


def test_restore_accepts_a_dump_whose_last_line_is_read_in_two_pieces(saved: Stack) -> None:
    dump = gzip.decompress((folders(saved)[0] / DATABASE).read_bytes())
    # The second piece is the dump's last five bytes.
    first_row = b"x" * (process.PIECE_BYTES - len(dump)) + b".png\n"
    replace_dump(saved, gzip.compress(first_row + dump))

    assert restore(saved).code == 0

    assert saved.data.rows[LIVE] == [first_row.decode().rstrip(), "a.png"]


def test_restore_of_backup_format_1_loads_as_the_application_user(saved: Stack) -> None:
    (path,) = folders(saved)
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest["parts"][EXTRAS], manifest["database"]
    (path / MANIFEST).write_text(json.dumps({**manifest, "format": 1}))
    (path / EXTRAS).unlink()

    assert restore(saved).code == 0

    assert saved.data.loaded_as == "application" and saved.data.extras == b""
    assert is_restored(saved)


def test_restore_of_backup_format_2_loads_as_the_administrator(saved: Stack) -> None:
    """Format 2 has extras, as the present one, and no private files."""
    path = folders(saved)[0] / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))

    assert restore(saved).code == 0

    assert saved.data.loaded_as != "application" and saved.data.extras
    assert is_restored(saved)


@pytest.mark.parametrize("running", [("server2",), ("worker",), ("server2", "worker")])
def test_restore_needs_force_while_a_server_or_the_worker_runs(
    saved: Stack, running: tuple[str, ...]
) -> None:
    for service in running:
        saved.containers[service].status = "running"

    ended = restore(saved)

    assert ended.code == 1 and is_unchanged(saved) and saved.steps == ["lock restore"]
    assert f"the stack is running ({', '.join(running)})" in ended.result["error"]
    stop_first = f"Stop it first: docker compose stop {' '.join(running)}."
    assert ended.result["next"].startswith(stop_first)

    assert restore(saved, "--force").code == 0 and is_restored(saved)


def damaged(part: str) -> Callable[[Stack, Path], object]:
    """Return a function that changes one byte of a part."""

    def change(_: Stack, path: Path) -> None:
        content = bytearray((path / part).read_bytes())
        content[-1] ^= 1
        (path / part).write_bytes(content)

    return change


UNUSABLE: dict[str, tuple[Callable[[Stack, Path], object], str]] = {
    **{
        part: (damaged(part), f"{part} is missing or damaged (wrong checksum)")
        for part in (DATABASE, EXTRAS, MEDIA)
    },
    "missing": (lambda _, path: (path / MEDIA).unlink(), f"{MEDIA} is missing"),
    "second format": (
        lambda s, path: (rewritten(format=2)(s, path), damaged(EXTRAS)(s, path)),
        f"{EXTRAS} is missing or damaged (wrong checksum)",
    ),
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


@pytest.mark.parametrize(("change", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_restore_refuses_an_unusable_backup(
    saved: Stack, change: Callable[[Stack, Path], object], words: str
) -> None:
    change(saved, folders(saved)[0])

    ended = restore(saved)

    assert ended.code == 1 and words in ended.result["error"] and ended.result["next"]
    assert is_unchanged(saved) and not saved.locks and not set(saved.steps) & set(LOADED)
    assert len(folders(saved)) == 1


def test_restore_needs_force_for_a_backup_of_another_layer(saved: Stack) -> None:
    rewritten(layer="production")(saved, folders(saved)[0])

    assert restore(saved, "--force").code == 0 and is_restored(saved)


def test_restore_of_another_stacks_backup_takes_its_folder(saved: Stack) -> None:
    other = folders(saved)[0].parents[1] / "former-production" / "20300101T120000Z"
    shutil.move(folders(saved)[0], other)

    ended = saved.run("restore", "backups/former-production/20300101T120000Z", "--force", "--json")

    assert ended.code == 0 and is_restored(saved)


def test_restore_without_a_name_lists_the_backups(saved: Stack) -> None:
    ended = saved.run("restore", "--json")

    assert (ended.code, ended.result["error"]) == (2, "name a backup")
    assert ended.result["next"] == f"Backups: {folders(saved)[0].name}."
    ended = saved.run("restore", "nosuch", "--json")
    assert (ended.code, ended.result["error"]) == (2, "there is no backup 'nosuch'")
    other = folders(saved)[0].parents[1] / "former-production" / "20300101T120000Z"
    shutil.move(folders(saved)[0], other)
    assert saved.run("restore", other.name, "--json").result["next"] == (
        "Backups: backups/former-production/20300101T120000Z."
    )
    shutil.rmtree(other)
    assert "./stackctl backup makes one" in saved.run("restore", "--json").result["next"]


def test_restore_on_a_new_machine_builds_the_image_first(
    saved: Stack,
) -> None:
    for name in [name for name in saved.images if name.startswith(IMAGE)]:
        del saved.images[name]
    saved.containers.clear()

    assert restore(saved).code == 0
    assert saved.steps[1:4] == ["build aaaa", "name aaaa latest", "up db"]
    assert is_restored(saved)
