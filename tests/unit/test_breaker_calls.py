"""Breakers: a failed call refuses the calls of all processes, until one succeeds."""

import pytest

from ops import breaker
from ops.breaker import AwayError, Breaker
from tests.unit.breakers import another_worker, in_another_process
from tests.waiting import eventually


@pytest.mark.usefixtures("no_end_of_the_pause")
def test_one_failed_call_refuses_the_calls_of_all_processes(shared: Breaker) -> None:
    def fail() -> None:
        with pytest.raises(OSError), shared.call(OSError):
            raise ConnectionRefusedError

    in_another_process(fail)

    assert shared.is_open
    with pytest.raises(AwayError, match="the server"), shared.call(OSError):
        pytest.fail("the server was asked")


def test_after_the_pause_one_call_tries_and_its_success_lets_all_through(shared: Breaker) -> None:
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
    # The one that tried has given its turn back.
    assert in_another_process(shared.take)


def test_while_one_call_tries_another_process_is_refused(shared: Breaker) -> None:
    shared.open()
    eventually(lambda: not shared._is_pause(), seconds=5, what="the end of the pause")
    with another_worker(shared), pytest.raises(AwayError), shared.call(OSError):
        pytest.fail("two have asked")


def test_an_old_failure_refuses_no_call(shared: Breaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two come at once, an hour after an outage: neither is refused because the other one tries."""
    shared.open()
    monkeypatch.setattr(breaker, "STALE_SECONDS", 0.1)
    eventually(lambda: not shared.is_open, seconds=5, what="the failure is old")
    called = False

    with another_worker(shared), shared.call(OSError):
        called = True

    assert called


def test_a_call_inside_a_call_is_part_of_it(shared: Breaker) -> None:
    """A client connects while it sends a command."""
    shared.open()
    eventually(lambda: not shared._is_pause(), seconds=5, what="the end of the pause")

    with shared.call(OSError):
        with shared.call(OSError):
            pass
        # The server has not answered the command yet.
        assert shared.is_open

    assert not shared.is_open


def test_errors_of_another_kind_and_the_servers_own_leave_it_closed(shared: Breaker) -> None:
    for error in (ValueError(), PermissionError()):
        with pytest.raises(type(error)), shared.call(OSError, but=PermissionError):
            raise error

    assert not shared.is_open
