"""The longest write to the machine's disk, which delays commits whatever the servers do."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# Writes and fsyncs five times a second until its input ends, then prints the longest duration.
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
    """The longest write; set after the block of watched_disk()."""

    longest_seconds: float = 0.0


@contextmanager
def watched_disk(image: str) -> Iterator[Disk]:
    """Measure writes in a container of an image with Python during the block."""
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
