"""Breakers: while the database, Redis or the broker is down, one process at a time tries it.

A server that hangs answers nothing, and each call to it takes until its time limit. With every
worker in such a call no page would be served, nor the load balancer's checks. So the processes of
a server share what each has seen: the first failure opens the breaker, and an open one refuses.
"""

import fcntl
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ops import tls
from ops.threads import DaemonThreads

T = TypeVar("T")

# Between two tries while the server is down.
PAUSE_SECONDS = 1.0
# An older failure is forgotten: no request has needed the server since.
# Longer than the longest try (ops/storage/bucket.py).
STALE_SECONDS = 20.0
# A server that is up takes milliseconds. Far below HAProxy's `timeout queue`.
PATIENCE_SECONDS = 0.25
# Connecting takes more of them: on a busy machine one attempt may well take the time above.
TURN_SECONDS = 0.5
POLL_SECONDS = 0.005
# The limits for connecting (name server and login included), and for the check of a slow statement.
CONNECT_SECONDS = 1.0
CHECK_SECONDS = 0.5
# When a try last failed (0: none since one succeeded), and when one last succeeded.
RECORD = struct.Struct("dd")


class AwayError(OSError):
    """The server does not answer: the call was not made, or was given up."""


class Breaker:
    """A lock and two times, shared with all processes that are forked later."""

    def __init__(self, name: str) -> None:
        """Make the shared file, which has no name and goes with its last process."""
        self.name = name
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open for the process's life)
        self._inside = threading.local()
        self._forked()
        os.register_at_fork(after_in_child=self._forked)
        self.close()

    @property
    def is_open(self) -> bool:
        """Return whether the server is down, as far as is known."""
        return bool(self._read()[0])

    def open(self) -> None:
        """Note that the server does not answer."""
        self._write(time.monotonic(), self._read()[1])

    def close(self) -> None:
        """Note that the server answers."""
        self._write(0, time.monotonic())

    def take(self) -> bool:
        """Wait for the turn to connect; false when the server is down and this is not the try.

        The process that gets it has to give it back; its end gives it back too.
        """
        started = time.monotonic()
        while not self._lock():
            failed, succeeded = self._read()
            if failed:
                return False
            if time.monotonic() - max(started, succeeded) > TURN_SECONDS:
                self.open()
                return False
            time.sleep(POLL_SECONDS)
        if self._is_pause():
            self._unlock()
            return False
        return True

    def give_back(self, *, away: bool) -> None:
        """End the turn, and let the others know whether the server was down."""
        if away:
            self.open()
        else:
            self.close()
        self._unlock()

    @contextmanager
    def call(
        self, *away: type[Exception], but: tuple[type[Exception], ...] | type[Exception] = ()
    ) -> Iterator[None]:
        """Guard a short call.

        Args:
            away: the types of errors that say that the server is down.
            but: those among them that the server itself has sent.

        Raises:
            AwayError: it is down, and another process tries it, or has just tried.
        """
        # Connecting is a call inside another one's.
        if getattr(self._inside, "call", False):
            yield
            return
        trying = self.is_open
        if trying and (self._is_pause() or not self._lock()):
            raise AwayError(f"{self.name} did not answer a moment ago")
        self._inside.call = True
        try:
            yield
        except away as error:
            # A failed TLS handshake is quick, and its error names the cause: no need to open.
            if not isinstance(error, but) and not tls.is_fault(error):
                self.open()
            raise
        else:
            if trying:
                self.close()
        finally:
            self._inside.call = False
            if trying:
                self._unlock()

    def watch(self, check: Callable[[], bool], *, seconds: float) -> Callable[[], None]:
        """Return what one who waits for an answer calls every moment: it raises when it is time.

        A long statement is not an outage: after a while without any answer to any process, one of
        those who wait checks by other means, which distinguishes it from a server that hangs.

        Args:
            check: returns whether the server answers, within CHECK_SECONDS.
            seconds: how long to wait at most.

        The returned function raises AwayError.
        """
        began = time.monotonic()
        blocked = 0.0

        def guard() -> None:
            nonlocal blocked
            now = time.monotonic()
            failed, succeeded = self._read()
            if failed > began or now - began > seconds:
                raise AwayError(f"{self.name} has not answered for {now - began:.1f} s")
            # The longer the statement, the rarer the checks.
            if now - max(began, succeeded) < max(PATIENCE_SECONDS, (now - began) / 2):
                blocked = 0.0
            elif self._lock():
                answered = False
                try:
                    answered = check()
                finally:
                    self.give_back(away=not answered)
            else:
                # Another process connects or checks; after this time it hangs.
                blocked = blocked or now
                if now - blocked > CHECK_SECONDS + POLL_SECONDS:
                    self.open()

        return guard

    def _is_pause(self) -> bool:
        failed = self._read()[0]
        return bool(failed) and time.monotonic() - failed < PAUSE_SECONDS

    def _forked(self) -> None:
        """Begin without the lock, as the file's is the parent's."""
        self._thread = threading.Lock()

    def _lock(self) -> bool:
        """Take the lock if it is free: that among threads, then that among processes."""
        if not self._thread.acquire(blocking=False):
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            self._thread.release()
            return False
        return True

    def _unlock(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)
        self._thread.release()

    def _read(self) -> tuple[float, float]:
        failed, succeeded = RECORD.unpack(os.pread(self._file.fileno(), RECORD.size, 0))
        return failed if time.monotonic() - failed < STALE_SECONDS else 0.0, succeeded

    def _write(self, failed: float, succeeded: float) -> None:
        os.pwrite(self._file.fileno(), RECORD.pack(failed, succeeded), 0)


def within(seconds: float, work: Callable[[], T], undo: Callable[[T], object]) -> T:
    """Return what the work returns, in a thread: a name server's silence has no time limit.

    Args:
        seconds: how long it may take.
        work: what to do.
        undo: called with a result that comes later.

    Raises:
        TimeoutError: it took longer.
    """
    future = DaemonThreads().submit(work)
    try:
        return future.result(seconds)
    except TimeoutError:
        future.add_done_callback(lambda late: late.exception() or undo(late.result()))
        raise


# Made before uWSGI forks its workers, so that they share them.
DATABASE = Breaker("the database")
REDIS = Breaker("Redis")
# Redis as the message broker is the same server as above.
BROKER = Breaker("the message broker")
# A bucket; a disk has none.
STORAGE = Breaker("the storage")
# Only workers connect to it.
MAIL = Breaker("the mail server")
