"""Breakers: one process at a time tries to connect, the others wait or are refused."""

import time
from types import SimpleNamespace

import pytest

from ops import breaker
from ops.breaker import Breaker
from tests.unit.breakers import PATIENCE, another_worker, in_another_process
from tests.unit.config_files import haproxy_seconds
from tests.waiting import eventually


def test_processes_connect_one_at_a_time(shared: Breaker) -> None:
    for _ in range(3):
        assert shared.take()
        shared.give_back(away=False)
        # In another process: a process can take its own lock again.
        assert in_another_process(shared.take)


def test_other_processes_are_refused_while_one_connection_hangs(shared: Breaker) -> None:
    with another_worker(shared):
        assert not shared.take()
        # After one wait no further call waits.
        started = time.monotonic()
        assert not any(shared.take() for _ in range(100))
        # The machine may be busy; a hundred waits would be twice as long.
        assert time.monotonic() - started < 50 * PATIENCE

    # The process that hung has ended, and its lock is free.
    eventually(shared.take, seconds=5, what="the next try")


def test_failed_connection_is_followed_by_a_pause_and_another_try(
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


class Clock(SimpleNamespace):
    """A fake clock: on a busy machine the real one can jump between two lines."""

    def __init__(self) -> None:
        super().__init__(now=1000.0)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_process_waits_to_connect_while_others_succeed(
    shared: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many workers that connect at once after a start are no outage."""
    clock = Clock()

    def lock() -> bool:
        # Another process connects successfully at each check.
        shared._write(0, clock.now)
        return clock.now > 1000 + 10 * PATIENCE

    monkeypatch.setattr(breaker, "time", clock)
    monkeypatch.setattr(shared, "_lock", lock)

    assert shared.take()


@pytest.mark.parametrize(("seconds", "gets_it"), [(0.45, True), (0.55, False)])
def test_process_waits_half_a_second_for_another_that_connects(
    monkeypatch: pytest.MonkeyPatch, seconds: float, gets_it: bool
) -> None:
    """On a busy machine one connection can take some tenths of a second."""
    clock = Clock()
    monkeypatch.setattr(breaker, "time", clock)
    server = Breaker("the server")
    monkeypatch.setattr(server, "_lock", lambda: clock.now > 1000 + seconds)

    assert server.take() is gets_it
    assert server.is_open is not gets_it


def test_wait_to_connect_is_shorter_than_the_haproxy_queue_timeout() -> None:
    statement = breaker.PATIENCE_SECONDS + breaker.CHECK_SECONDS
    longest = max(breaker.CONNECT_SECONDS, breaker.TURN_SECONDS, statement)

    assert haproxy_seconds("defaults", "timeout queue") > longest
