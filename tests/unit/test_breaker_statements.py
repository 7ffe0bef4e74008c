"""Breakers: how long a client waits for a statement without an answer."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ops import breaker
from ops.breaker import AwayError, Breaker
from ops.database import watched
from ops.database.watched import Watched
from tests.unit.breakers import PATIENCE, another_worker


def wait_with(check_outage: Callable[[], None], seconds: float = 5) -> None:
    """Wait for an answer that does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        check_outage()
        time.sleep(PATIENCE / 10)


def test_long_statement_is_waited_for_while_the_database_answers_checks(shared: Breaker) -> None:
    checks: list[bool] = []

    def check() -> bool:
        checks.append(True)
        return True

    check_outage = shared.watch(check, seconds=600)
    wait_with(check_outage, 10 * PATIENCE)

    # The interval grows: fewer checks than waits.
    assert 1 <= len(checks) <= 8
    assert not shared.is_open


@pytest.mark.usefixtures("no_end_of_the_pause")
def test_statement_is_cancelled_when_the_database_check_fails(shared: Breaker) -> None:
    check_outage = shared.watch(lambda: False, seconds=600)
    other = shared.watch(lambda: True, seconds=600)

    with pytest.raises(AwayError):
        wait_with(check_outage)
    assert shared.is_open
    # No other process has to check.
    with pytest.raises(AwayError):
        other()


def test_statement_is_cancelled_while_another_process_hangs_connecting(
    shared: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "CHECK_SECONDS", PATIENCE)
    check_outage = shared.watch(lambda: pytest.fail("it has the lock"), seconds=600)
    with another_worker(shared), pytest.raises(AwayError):
        wait_with(check_outage)


def test_statement_is_cancelled_after_its_timeout(shared: Breaker) -> None:
    check_outage = shared.watch(lambda: True, seconds=PATIENCE)
    with pytest.raises(AwayError, match=r"the server has not answered for \d\.\d s"):
        wait_with(check_outage)


class Clock:
    """A clock that moves in steps without rounding errors."""

    STEP = 1 / 64

    def __init__(self) -> None:
        """Begin."""
        self.now = 1000.0
        self.sleep = None

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def steps(self, check_outage: Callable[[], None], seconds: float) -> Iterator[float]:
        """Move the clock, check at each step, and yield the seconds that have passed."""
        begun = self.now
        while self.now < begun + seconds:
            self.now += self.STEP
            check_outage()
            yield self.now - begun


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the breaker's clock."""
    clock = Clock()
    monkeypatch.setattr(breaker, "time", clock)
    return clock


def test_interval_between_checks_of_a_long_statement_doubles(clock: Clock) -> None:
    shared, checks = Breaker("the server"), []

    def check() -> bool:
        checks.append(clock.now - 1000)
        return True

    for _ in clock.steps(shared.watch(check, seconds=600), 5):
        pass

    assert checks == [0.25, 0.5, 1, 2, 4]


def test_statement_waits_for_the_check_of_another_process_no_longer_than_one_check_takes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait starts again when the server answers anyone."""
    shared = Breaker("the server")
    monkeypatch.setattr(shared, "_lock", lambda: False)
    late = shared.watch(lambda: True, seconds=600)
    clock.now += 1
    late()
    assert not shared.is_open
    for seconds in clock.steps(shared.watch(lambda: True, seconds=600), 0.5):
        if seconds == 0.5:
            shared.close()
    assert not shared.is_open

    opened = next(
        seconds
        for seconds in clock.steps(shared.watch(lambda: True, seconds=600), 5)
        if shared.is_open
    )
    # Counted from the end of PATIENCE_SECONDS.
    assert opened == breaker.PATIENCE_SECONDS + breaker.CHECK_SECONDS + Clock.STEP


class Refusing(Watched):
    """A connection that the database refuses because it has too many."""

    Database = sqlite3

    def connect_now(self, conn_params: dict[str, Any]) -> Any:
        raise sqlite3.Error("too many connections")

    def unavailable_error(self, reason: str) -> Exception:
        return OSError(reason)

    def is_unavailable(self, error: Exception) -> bool:
        return True

    def was_answered(self, error: Exception) -> bool:
        return True


def test_database_with_too_many_connections_keeps_open_connections(
    shared: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "DATABASE", shared)
    check_outage = shared.watch(lambda: True, seconds=600)

    with pytest.raises(sqlite3.Error):
        Refusing().get_new_connection({})

    assert not shared.is_open
    check_outage()
