"""A systemd-journald on this machine, where systemd itself does not run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import eventually
from tools.stackctl.docker import journal

PROGRAM = Path("/usr/lib/systemd/systemd-journald")
HELP = f"{PROGRAM} is missing. On Debian: apt-get install systemd"


@contextmanager
def running() -> Iterator[None]:
    """Run a journald during the block, unless one runs already. It needs root."""
    if journal.answers():
        yield
        return
    assert PROGRAM.exists(), HELP
    with subprocess.Popen([PROGRAM], stdin=subprocess.DEVNULL) as process:
        try:
            eventually(journal.answers, seconds=20, what="journald listens")
            yield
        finally:
            process.terminate()
