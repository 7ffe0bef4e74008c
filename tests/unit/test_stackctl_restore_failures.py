"""A `stackctl restore` that fails or is interrupted changes nothing, or names a backup."""

import gzip
import os
import signal
from functools import partial

import pytest

from tests.unit.scripted.backups import (
    DISCARDED,
    LOADED,
    SWITCHED,
    folders,
    is_restored,
    is_unchanged,
    replace_dump,
    restore,
)
from tests.unit.scripted.data import LIVE
from tests.unit.scripted.stack import Stack, fails, interrupts
from tools.stackctl.commands.backup_files import DATABASE
from tools.stackctl.common import process


@pytest.mark.parametrize("step", [*LOADED, "database switch stackctl_restore"])
def test_restore_that_fails_before_the_switch_changes_nothing(saved: Stack, step: str) -> None:
    saved.faults[step] = fails("no room", 8 if "switch" in step else 1)

    ended = restore(saved)

    assert ended.code == 1 and ended.result["error"].endswith("no room; nothing was changed")
    assert saved.steps[-3:] == [step, *DISCARDED] and is_unchanged(saved)
    assert list(saved.data.rows) == [LIVE] and saved.data.staged == {}


@pytest.mark.parametrize(("step", "code"), [(SWITCHED[0], 1), (SWITCHED[0], 137), (SWITCHED[1], 1)])
def test_restore_that_fails_in_the_switch_names_the_backup_of_the_previous_data(
    saved: Stack, step: str, code: int
) -> None:
    """137: the container was killed, without a message of the script."""
    saved.faults[step] = fails("no room", code)

    ended = restore(saved, "--force")

    first, before = folders(saved)
    assert ended.code == ended.result["code"] == 5
    assert ended.result["error"].endswith("no room; the data may be incomplete now")
    assert f"./stackctl restore {before.name} --force\n" in ended.result["next"]
    assert f"./stackctl restore {first.name} --force\n" in ended.result["next"]
    # The loaded data stays for the next try.
    assert not set(DISCARDED) & set(saved.steps)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", LOADED)
def test_restore_interrupted_while_loading_changes_nothing(
    saved: Stack, step: str, number: int
) -> None:
    before = signal.getsignal(number)
    saved.faults[step] = partial(signal.raise_signal, number)

    ended = restore(saved)

    assert ended.code == 130
    assert ended.result["error"] == "interrupted; nothing was changed"
    assert saved.steps[-3:] == [step, *DISCARDED] and is_unchanged(saved)
    # The previous signal handler is set again.
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("step", SWITCHED)
def test_restore_interrupted_while_switching_completes(saved: Stack, step: str) -> None:
    saved.faults[step] = interrupts

    ended = restore(saved)

    assert ended.code == 0 and is_restored(saved)
    assert "interrupted: the restore completes first" in ended.err


def test_restore_warns_of_temporary_data_that_cannot_be_removed(saved: Stack) -> None:
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
        (gzip.compress(b"a.png\n"), f"{DATABASE} is incomplete"),
        (gzip.compress(b""), f"{DATABASE} is incomplete"),
    ],
    ids=["damaged", "without its end", "empty"],
)
def test_restore_of_an_incomplete_dump_changes_nothing(
    saved: Stack, dump: bytes, reason: str
) -> None:
    replace_dump(saved, dump)

    ended = restore(saved)

    assert ended.code == 1 and reason in ended.result["error"]
    assert ended.result["error"].endswith("; nothing was changed")
    assert saved.steps[-2:] == DISCARDED and is_unchanged(saved)


def test_restore_shows_why_the_database_does_not_start(saved: Stack) -> None:
    saved.behave("aaaa", log="DB_PASSWORD is wrong")
    saved.create("env-check").status = "exited"
    saved.containers["env-check"].exit_code = 1
    saved.faults["up db"] = fails("dependency failed to start")

    ended = restore(saved)

    assert "env-check is exited" in ended.result["next"]
    assert "DB_PASSWORD is wrong" in ended.result["next"]
    assert "server2" not in ended.result["next"]
    assert "dependency failed to start" in ended.err
