"""Progress whose reader goes away does not stop what goes on."""

import io
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
from tests.waiting import eventually
from tools.stackctl.common.console import Console

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


class Terminal(io.StringIO):
    """A terminal, as far as a program asks for it."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


def test_terminal_shows_marks_in_color_and_the_step_s_latest_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, screen = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    console = Console()

    console.out.print("42 servers")
    console.say("42 [servers] 'well'")
    console.good("done")
    console.warn("odd")
    console.bad("gone")
    lines = screen.getvalue().splitlines()
    with console.step("building"):
        console.detail("  layer 25 of 30\n")
        eventually(
            lambda: "building: layer 25 of 30" in screen.getvalue(),
            seconds=10,
            what="the step shows its latest line",
        )
        console.detail("x" * 99)
        eventually(
            lambda: f"building: {'x' * 26}" in screen.getvalue(), seconds=10, what="it is cut"
        )
    console.detail("nothing shows it any more")

    assert out.getvalue() == "42 servers\n"
    assert lines == [
        "42 [servers] 'well'",
        *("\x1b[32m✓ done\x1b[0m", "\x1b[33m! odd\x1b[0m", "\x1b[31m✗ gone\x1b[0m"),
    ]
    assert "x" * 27 not in screen.getvalue() and "any more" not in screen.getvalue()
