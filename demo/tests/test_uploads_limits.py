"""Limits of image decoding: CPU time, memory, and crashes of the decoder."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from demo.tasks import process_upload
from demo.tests.images import make_costly_jpeg
from demo.uploads import limits, work
from demo.uploads.images import ImageError
from demo.uploads.limits import TOO_MUCH, within_limits

LIMIT = 40


def use_too_much_memory() -> bytes:
    # Without a limit this succeeds, since the memory is never written to.
    return bytes(2**32)[:1]


def use_too_much_time() -> bytes:
    while True:
        pass


def sleep() -> bytes:
    time.sleep(60)
    return b""


def crash() -> bytes:
    os.kill(os.getpid(), signal.SIGSEGV)
    return b""


def kill_itself() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


@pytest.fixture
def one_cpu_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit decoding to one second of CPU time."""
    monkeypatch.setattr(limits, "CPU_SECONDS", 1)


@pytest.mark.usefixtures("one_cpu_second")
@pytest.mark.parametrize("spend", [use_too_much_memory, use_too_much_time, crash])
def test_image_that_exceeds_limits_or_crashes_the_decoder_is_refused(
    spend: Callable[[], bytes],
) -> None:
    with pytest.raises(ImageError, match=TOO_MUCH):
        within_limits(spend, LIMIT)


@pytest.mark.usefixtures("one_cpu_second")
def test_jpeg_of_many_scans_is_refused_at_the_cpu_limit() -> None:
    with pytest.raises(ImageError, match=TOO_MUCH):
        work.shrink_within_limits(make_costly_jpeg(), LIMIT)


def test_timeout_on_a_busy_machine_does_not_refuse_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.2)

    with pytest.raises(TimeoutError, match="too busy"):
        within_limits(sleep, LIMIT)


def test_container_out_of_memory_does_not_refuse_the_image() -> None:
    with pytest.raises(OSError, match="the container ran out of memory"):
        within_limits(kill_itself, LIMIT)


def test_image_that_used_its_cpu_time_on_a_busy_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SECONDS", 1)
    monkeypatch.setattr(limits, "BUSY_CPU_SECONDS", 0.03)

    with pytest.raises(ImageError, match=TOO_MUCH):
        within_limits(use_too_much_time, LIMIT)


def test_exception_in_the_child_is_raised_in_the_parent() -> None:
    def refuse() -> bytes:
        raise ImageError("It is green.")

    def fail() -> bytes:
        raise LookupError("no codec")

    with pytest.raises(ImageError, match="It is green"):
        within_limits(refuse, LIMIT)
    with pytest.raises(OSError, match="LookupError: no codec"):
        within_limits(fail, LIMIT)


def test_parent_receives_a_large_result_completely() -> None:
    assert within_limits(lambda: bytes(3_000_000), LIMIT) == bytes(3_000_000)


def test_interrupted_parent_leaves_no_child_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task's soft time limit raises an exception at any line."""

    def interrupt(reader: int) -> bytes:
        raise KeyboardInterrupt

    children: list[int] = []
    fork = os.fork

    def record_fork() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(limits, "read", interrupt)
    monkeypatch.setattr(os, "fork", record_fork)

    with pytest.raises(KeyboardInterrupt):
        within_limits(sleep, LIMIT)
    with pytest.raises(ChildProcessError):
        os.waitpid(children[0], os.WNOHANG)


def test_child_closes_the_connections_of_its_parent() -> None:
    with open(os.devnull, "rb") as connection:  # noqa: PTH123 (any descriptor)
        number = connection.fileno()

        def is_open() -> bytes:
            try:
                os.fstat(number)
            except OSError:
                return b"closed"
            return b"open"

        assert within_limits(is_open, LIMIT) == b"closed"


def test_image_time_limits_are_below_the_task_time_limit() -> None:
    assert limits.CPU_SECONDS < limits.SECONDS < (process_upload.soft_time_limit or 0)
