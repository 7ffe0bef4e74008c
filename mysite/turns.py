"""Whose turn it is to connect to the database: one worker's at a time.

A database that is away may answer nothing at all, and a try to connect then takes until its time
limit. With every worker in such a try no page would be served, nor the load balancer's checks. So
while the database is away one worker tries, and the others are told at once.
"""

import fcntl
import os
import struct
import tempfile
import time

# Between two tries while the database is away.
PAUSE_SECONDS = 1.0
# A database that is there takes milliseconds to connect to. Far below HAProxy's `timeout queue`.
PATIENCE_SECONDS = 0.3
POLL_SECONDS = 0.005
# When a try last failed (0: none since one succeeded), and when one last succeeded.
RECORD = struct.Struct("dd")


class Turns:
    """A lock and two times, shared with all processes that are forked later."""

    def __init__(self) -> None:
        """Make the shared file, which has no name and goes with its last process."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open for the process's life)
        self._write(0, 0)

    def take(self) -> bool:
        """Wait for a turn to connect; false when the database is away, and this is not the try.

        Whoever gets it has to give it back. One whose process ends has given it back.
        """
        asked = time.monotonic()
        while not self._lock():
            failed, succeeded = self._read()
            now = time.monotonic()
            if failed:
                return False
            if now - max(asked, succeeded) > PATIENCE_SECONDS:
                self._write(now, succeeded)
                return False
            time.sleep(POLL_SECONDS)
        failed, _ = self._read()
        if failed and time.monotonic() - failed < PAUSE_SECONDS:
            self._unlock()
            return False
        return True

    def give_back(self, *, away: bool) -> None:
        """End the turn, and tell the others whether the database was away."""
        now = time.monotonic()
        _, succeeded = self._read()
        self._write(*((now, succeeded) if away else (0, now)))
        self._unlock()

    def _lock(self) -> bool:
        """Take the lock if it is free: a process's own, not one that a fork inherits."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _read(self) -> tuple[float, float]:
        failed, succeeded = RECORD.unpack(os.pread(self._file.fileno(), RECORD.size, 0))
        return failed, succeeded

    def _write(self, failed: float, succeeded: float) -> None:
        os.pwrite(self._file.fileno(), RECORD.pack(failed, succeeded), 0)
