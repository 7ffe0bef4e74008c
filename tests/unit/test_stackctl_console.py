"""Progress whose reader goes away does not stop what goes on."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tree import ROOT

# Says something on a step's beginning, on a signal, and at the end, each to nobody.
WORK = """
import os, sys
from tools.stackctl.common.console import Console
from tools.stackctl.common.interrupt import Interrupt
console, interrupt = Console(as_json=True), Interrupt()
with interrupt.noted(console.warn), console.step("releasing"):
    os.write(1, b"begun\\n")
    sys.stdin.readline()
    console.detail("more")
    console.bad("worse")
console.result({"asked": interrupt.asked})
sys.exit(7)
"""


def closed_pipe() -> tuple[int, Callable[[], None]]:
    """Return a pipe's end to write to, and what closes the other one."""
    reader, writer = os.pipe()
    return writer, lambda: os.close(reader)


def closed_terminal() -> tuple[int, Callable[[], None]]:
    """Return a terminal, and what closes its window."""
    window, terminal = pty.openpty()
    return terminal, lambda: os.close(window)


def full_disk() -> tuple[int, Callable[[], None]]:
    """Return a file that nothing fits into any more."""
    return os.open("/dev/full", os.O_WRONLY), lambda: None


@pytest.mark.parametrize("nobody", [closed_pipe, closed_terminal, full_disk])
def test_work_goes_on_when_nobody_can_read_of_it(
    nobody: Callable[[], tuple[int, Callable[[], None]]],
) -> None:
    """As in `deploy 2>&1 | tee log` after Ctrl-C, which ends tee, or when a connection is lost."""
    stderr, leave = nobody()
    with subprocess.Popen(
        [sys.executable, "-c", WORK],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    ) as work:
        os.close(stderr)
        assert work.stdout and work.stdout.readline() == "begun\n"
        leave()
        work.send_signal(signal.SIGINT)
        said, _ = work.communicate("go on\n", timeout=30)

    assert json.loads(said) == {"asked": True}
    assert work.returncode == 7


def test_a_result_that_nobody_reads_does_not_change_how_it_ended() -> None:
    script = "import sys; from tools.stackctl.common.console import Console; "
    script += "Console(as_json=True).result({'done': True}); sys.exit(7)"
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert ended.returncode == 7
    assert "the result could not be printed: No space left on device" in ended.stderr
