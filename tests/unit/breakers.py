"""Fixtures of the breaker tests: shorter times, and other processes."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ops import breaker
from ops.breaker import Breaker

PATIENCE = 0.1


@contextmanager
def another_worker(shared: Breaker) -> Iterator[int]:
    """Fork a process that acquires the lock and hangs; return its id."""
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


def in_another_process(work: Callable[[], object]) -> bool:
    """Run a function in a forked process; return whether its result was true."""
    pid = os.fork()
    if not pid:
        result: object = None
        try:
            result = work()
        finally:
            os._exit(not result)
    return os.waitpid(pid, 0)[1] == 0


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Breaker:
    """Return a breaker with shorter times."""
    monkeypatch.setattr(breaker, "PATIENCE_SECONDS", PATIENCE)
    monkeypatch.setattr(breaker, "TURN_SECONDS", PATIENCE)
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 0.2)
    return Breaker("the server")


@pytest.fixture
def no_end_of_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the pause longer than the test, also on a busy machine."""
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 600)
