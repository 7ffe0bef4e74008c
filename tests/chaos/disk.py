"""How long the machine's disk keeps a write waiting, and with it each commit: no server's doing."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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


@dataclass
class Disk:
    """What was seen of the disk; after the block of watched_disk()."""

    longest_seconds: float = 0.0


@contextmanager
def watched_disk(image: str) -> Iterator[Disk]:
    """Watch the engine's disk from a container of its own, made of an image with Python."""
    disk = Disk()
    process = subprocess.Popen(
        [
            *("docker", "run", "--rm", "--interactive", "--network", "none"),
            *("--entrypoint", "python", image, "-c", PROBE),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield disk
    finally:
        output, _ = process.communicate(timeout=60)
    disk.longest_seconds = float(output)
