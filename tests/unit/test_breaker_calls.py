"""Breakers: after a failed call, all processes refuse calls until one succeeds."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ops import breaker
from ops.breaker import AwayError, Breaker
from tests.unit.breakers import another_worker, in_another_process
from tests.waiting import eventually


@pytest.mark.usefixtures("no_end_of_the_pause")
def test_failed_call_opens_the_breaker_for_all_processes(shared: Breaker) -> None:
    def fail() -> None:
        with pytest.raises(OSError), shared.call(OSError):
            raise ConnectionRefusedError

    in_another_process(fail)

    assert shared.is_open
    with pytest.raises(AwayError, match="the server"), shared.call(OSError):
        pytest.fail("the server was asked")


def test_breaker_closes_after_a_successful_call_past_the_pause(shared: Breaker) -> None:
    shared.open()

    def succeeds() -> bool:
        with shared.call(OSError):
            return True

    def tried() -> bool:
        try:
            return succeeds()
        except AwayError:
            return False

    eventually(tried, seconds=5, what="the try after the pause")
    assert not shared.is_open
    assert all(succeeds() for _ in range(3))
    # The call that tried has released the lock.
    assert in_another_process(shared.take)


def test_breaker_refuses_other_processes_while_one_call_tries(shared: Breaker) -> None:
    shared.open()
    eventually(lambda: not shared._is_pause(), seconds=5, what="the end of the pause")
    with another_worker(shared), pytest.raises(AwayError), shared.call(OSError):
        pytest.fail("two have asked")


def test_breaker_refuses_other_threads_while_one_call_tries(shared: Breaker) -> None:
    """A file's lock is its process's, which all threads of it have."""
    shared.open()
    eventually(lambda: not shared._is_pause(), seconds=5, what="the end of the pause")
    with ThreadPoolExecutor(1) as other, shared.call(OSError):
        assert other.submit(shared.take).result() is False
    assert shared.take()


def test_breaker_ignores_an_old_failure(shared: Breaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two calls long after an outage, neither is refused because the other one tries."""
    shared.open()
    monkeypatch.setattr(breaker, "STALE_SECONDS", 0.1)
    eventually(lambda: not shared.is_open, seconds=5, what="the failure is old")
    called = False

    with another_worker(shared), shared.call(OSError):
        called = True

    assert called


def test_breaker_closes_only_after_the_outer_of_two_nested_calls(shared: Breaker) -> None:
    """A client connects while it sends a command."""
    shared.open()
    eventually(lambda: not shared._is_pause(), seconds=5, what="the end of the pause")

    with shared.call(OSError):
        with shared.call(OSError):
            pass
        # The server has not answered the command yet.
        assert shared.is_open

    assert not shared.is_open


def test_breaker_stays_closed_on_errors_that_are_no_outage(shared: Breaker) -> None:
    for error in (ValueError(), PermissionError()):
        with pytest.raises(type(error)), shared.call(OSError, but=PermissionError):
            raise error

    assert not shared.is_open
