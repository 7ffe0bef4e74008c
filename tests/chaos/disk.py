"""How long the machine's disk keeps a write waiting, and with it each commit: no server's doing."""

import subprocess
from types import TracebackType
from typing import Self

# Writes as a commit does, five times a second until its input ends; prints the longest wait.
PROBE = """
import os, select, sys, time

file = os.open("/tmp/probe", os.O_CREAT | os.O_WRONLY)
longest = 0.0
while not select.select([sys.stdin], [], [], 0.2)[0]:
    started = time.monotonic()
    os.pwrite(file, b"x" * 4096, 0)
    os.fsync(file)
    longest = max(longest, time.monotonic() - started)
print(longest)
"""


class WatchedDisk:
    """The engine's disk, watched from a container of its own for the time of a `with` block."""

    def __init__(self, image: str) -> None:
        """Take an image with Python; the block starts it."""
        self.image = image
        self.longest_seconds = 0.0

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [
                *("docker", "run", "--rm", "--interactive", "--network", "none"),
                *("--entrypoint", "python", self.image, "-c", PROBE),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        output, _ = self.process.communicate(timeout=60)
        self.longest_seconds = float(output)
