"""An image that costs minutes or gigabytes, or its decoder's life, fails at once and alone."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from demo.tasks import process_upload
from demo.tests.pictures import costly
from demo.uploads import limits, work
from demo.uploads.limits import TOO_MUCH, within_limits
from demo.uploads.pictures import PictureError

LIMIT = 40


def too_much_memory() -> bytes:
    # Without a limit it would succeed: these pages are never written to.
    return bytes(2**32)[:1]


def too_much_time() -> bytes:
    while True:
        pass


def sleep() -> bytes:
    time.sleep(60)
    return b""


def crash() -> bytes:
    os.kill(os.getpid(), signal.SIGSEGV)
    return b""


def killed() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of the processor's time."""
    monkeypatch.setattr(limits, "CPU_SECONDS", 1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("spend", [too_much_memory, too_much_time, crash])
def test_image_is_refused_that_takes_too_much_or_crashes(spend: Callable[[], bytes]) -> None:
    with pytest.raises(PictureError, match=TOO_MUCH):
        within_limits(spend, LIMIT)


@pytest.mark.usefixtures("quick")
def test_small_jpeg_of_many_scans_is_cut_off() -> None:
    with pytest.raises(PictureError, match=TOO_MUCH):
        work.shrink_within_limits(costly(), LIMIT)


def test_busy_machine_says_nothing_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.2)

    with pytest.raises(TimeoutError, match="too busy"):
        within_limits(sleep, LIMIT)


def test_container_out_of_memory_says_nothing_of_the_image() -> None:
    with pytest.raises(OSError, match="the container ran out of memory"):
        within_limits(killed, LIMIT)


def test_image_that_had_its_time_on_a_busy_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SECONDS", 3)
    monkeypatch.setattr(limits, "BUSY_CPU_SECONDS", 0.1)

    with pytest.raises(PictureError, match=TOO_MUCH):
        within_limits(too_much_time, LIMIT)


def test_error_of_the_work_is_the_callers() -> None:
    def refuse() -> bytes:
        raise PictureError("It is green.")

    def fail() -> bytes:
        raise LookupError("no codec")

    with pytest.raises(PictureError, match="It is green"):
        within_limits(refuse, LIMIT)
    with pytest.raises(OSError, match="LookupError: no codec"):
        within_limits(fail, LIMIT)


def test_result_arrives_whole() -> None:
    assert within_limits(lambda: bytes(3_000_000), LIMIT) == bytes(3_000_000)


def test_parent_that_is_interrupted_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a task's soft time limit, which is an exception at any line."""

    def interrupted(reader: int) -> bytes:
        raise KeyboardInterrupt

    children: list[int] = []
    fork = os.fork

    def noted() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(limits, "read", interrupted)
    monkeypatch.setattr(os, "fork", noted)

    with pytest.raises(KeyboardInterrupt):
        within_limits(sleep, LIMIT)
    with pytest.raises(ChildProcessError):
        os.waitpid(children[0], os.WNOHANG)


def test_child_shares_no_connection_with_its_parent() -> None:
    with open(os.devnull, "rb") as connection:  # noqa: PTH123 (any descriptor)
        number = connection.fileno()

        def is_open() -> bytes:
            try:
                os.fstat(number)
            except OSError:
                return b"closed"
            return b"open"

        assert within_limits(is_open, LIMIT) == b"closed"


def test_limits_are_below_those_of_the_task() -> None:
    assert limits.CPU_SECONDS < limits.SECONDS < (process_upload.soft_time_limit or 0)
