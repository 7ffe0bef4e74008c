"""Breakers: one process at a time tries to connect, the others wait or are refused."""

import time
from types import SimpleNamespace

import pytest

from ops import breaker
from ops.breaker import Breaker
from tests.unit.breakers import PATIENCE, another_worker, in_another_process
from tests.unit.config_files import haproxy_seconds
from tests.waiting import eventually


def test_turns_to_connect_follow_each_other(shared: Breaker) -> None:
    for _ in range(3):
        assert shared.take()
        shared.give_back(away=False)
        # Here it would succeed in any case: a process can take its own lock again.
        assert in_another_process(shared.take)


def test_while_one_connection_hangs_others_are_refused_at_once(shared: Breaker) -> None:
    with another_worker(shared):
        assert not shared.take()
        # After one wait no further call waits.
        started = time.monotonic()
        assert not any(shared.take() for _ in range(100))
        # The machine may be busy; a hundred waits would be twice as long.
        assert time.monotonic() - started < 50 * PATIENCE

    # The process that hung is gone, and its turn with it.
    eventually(shared.take, seconds=5, what="the next try")


def test_after_a_failure_there_is_a_pause_then_a_try(
    shared: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared.take()
    with monkeypatch.context() as patch:
        patch.setattr(breaker, "PAUSE_SECONDS", 600)
        shared.give_back(away=True)
        assert not shared.take()

    eventually(shared.take, seconds=5, what="the next try")
    shared.give_back(away=False)
    assert shared.take()


def test_a_busy_start_waits_as_long_as_others_succeed(
    shared: Breaker, monkeypatch: pytest.MonkeyPatch
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
    monkeypatch.setattr(breaker, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    monkeypatch.setattr(shared, "_lock", lock)

    assert shared.take()


def test_the_wait_is_shorter_than_the_load_balancers_queue() -> None:
    longest = max(breaker.CONNECT_SECONDS, breaker.PATIENCE_SECONDS + breaker.CHECK_SECONDS)

    assert haproxy_seconds("defaults", "timeout queue") > longest
