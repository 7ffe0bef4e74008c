"""Turns to connect to the database, between real processes."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from mysite import turns
from mysite.turns import Turns
from tests.unit.config_files import haproxy_seconds
from tests.waiting import eventually

PATIENCE = 0.1


@contextmanager
def another_worker(shared: Turns) -> Iterator[int]:
    """Have a forked process take its turn and keep it, as one whose try hangs; give its id."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, b"1" if shared.take() else b"0")
        signal.pause()
        os._exit(0)
    try:
        assert os.read(reading, 1) == b"1"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Turns with shorter times."""
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", PATIENCE)
    monkeypatch.setattr(turns, "PAUSE_SECONDS", 0.2)
    return Turns()


def test_turns_follow_each_other_while_the_database_is_there(shared: Turns) -> None:
    for _ in range(3):
        assert shared.take()
        shared.give_back(away=False)


def test_while_one_hangs_the_others_are_told(shared: Turns) -> None:
    with another_worker(shared):
        assert not shared.take()
        # Having waited once, nobody waits again.
        started = time.monotonic()
        assert not any(shared.take() for _ in range(100))
        # The machine may be busy; a hundred waits would be twice as long.
        assert time.monotonic() - started < 50 * PATIENCE

    # The process that hung is gone, and its turn with it.
    eventually(shared.take, seconds=5, what="the next try")


def test_after_a_failure_there_is_a_pause_then_a_try(
    shared: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared.take()
    # However busy the machine is: the pause is not over before it is looked at.
    with monkeypatch.context() as patch:
        patch.setattr(turns, "PAUSE_SECONDS", 600)
        shared.give_back(away=True)
        assert not shared.take()

    eventually(shared.take, seconds=5, what="the next try")
    shared.give_back(away=False)
    assert shared.take()


def test_a_busy_start_waits_as_long_as_others_succeed(
    shared: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many workers connect at once after a start: none of them takes that for an outage."""
    now = 1000.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def lock() -> bool:
        # Another one's turn ends well at each look.
        shared._write(0, now)
        return now > 1000 + 10 * PATIENCE

    # A clock of its own: in a real one a busy machine may take such a step between two lines.
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    monkeypatch.setattr(shared, "_lock", lock)

    assert shared.take()


def test_nobody_in_the_load_balancers_queue_is_sent_away_by_the_wait() -> None:
    assert haproxy_seconds("defaults", "timeout queue") > 2 * turns.PATIENCE_SECONDS
