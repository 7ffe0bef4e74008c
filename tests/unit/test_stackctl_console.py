"""Output of stackctl: progress, errors and results, on terminals, in logs and pipes."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.status import Status

from tests.tree import ROOT
from tests.waiting import eventually
from tools.stackctl.common import console as module
from tools.stackctl.common.console import Console, ProgressStream
from tools.stackctl.common.faults import StackctlError

# Prints at the start of a step, on a signal, and at the end.
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
console.result({"asked": interrupt.requested})
sys.exit(7)
"""


def closed_pipe() -> tuple[int, Callable[[], None]]:
    """Return the writing end of a pipe, and a function that closes the other one."""
    reader, writer = os.pipe()
    return writer, lambda: os.close(reader)


def closed_terminal() -> tuple[int, Callable[[], None]]:
    """Return a terminal, and a function that closes its window."""
    window, terminal = pty.openpty()
    return terminal, lambda: os.close(window)


def full_disk() -> tuple[int, Callable[[], None]]:
    """Return a file on a full disk."""
    return os.open("/dev/full", os.O_WRONLY), lambda: None


@pytest.mark.parametrize("broken_stream", [closed_pipe, closed_terminal, full_disk])
def test_command_continues_when_its_progress_cannot_be_written(
    broken_stream: Callable[[], tuple[int, Callable[[], None]]],
) -> None:
    """As in `deploy 2>&1 | tee log` after Ctrl-C, or after a lost SSH connection."""
    stderr, close_reader = broken_stream()
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
        close_reader()
        work.send_signal(signal.SIGINT)
        printed, _ = work.communicate("go on\n", timeout=30)

    assert json.loads(printed) == {"asked": True}
    assert work.returncode == 7


def test_result_that_cannot_be_printed_keeps_the_exit_code() -> None:
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
    """A stream that reports to be a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def terminals(monkeypatch: pytest.MonkeyPatch) -> tuple[Terminal, Terminal]:
    """Make standard output and error terminals of 40 columns, and return them."""
    out, screen = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return out, screen


def test_terminal_shows_colored_marks_and_the_latest_line_of_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, screen = terminals(monkeypatch)
    console = Console()

    console.out.print("42 servers")
    console.say("42 [servers] 'well'")
    console.good("done")
    console.warn("odd")
    console.bad("gone")
    lines = screen.getvalue().splitlines()
    with console.step("checking [it]"):
        eventually(
            lambda: "checking [it]" in screen.getvalue(), seconds=10, what="the step is shown"
        )
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


LONG = "word " * 20


def test_terminal_output_wraps_tables_and_not_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The terminal wraps progress itself, so copied text stays one line."""
    out, screen = terminals(monkeypatch)
    console = Console()

    console.out.print(LONG)
    console.warn(LONG)

    assert all(len(line) <= 40 for line in out.getvalue().splitlines())
    assert screen.getvalue().count("\n") == 1


@pytest.mark.parametrize(("columns", "shown"), [("10", 20), ("24", 20), ("40", 36)])
def test_latest_line_of_a_step_is_cut_to_the_terminal_width(
    monkeypatch: pytest.MonkeyPatch, columns: str, shown: int
) -> None:
    updates: list[str] = []
    terminals(monkeypatch)
    monkeypatch.setattr(Status, "update", lambda _, text: updates.append(text))
    monkeypatch.setenv("COLUMNS", columns)
    console = Console()

    with console.step("build"):
        console.detail(" \n")
        console.detail("[bold] layer")
        console.detail("x" * 99)

    assert updates == ["build: \\[bold] layer"[: shown + 1], f"build: {'x' * 99}"[:shown]]


@pytest.fixture
def log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], list[str]]:
    """Freeze the time, and return a function that returns the lines of standard error."""

    def now(zone: tzinfo) -> datetime:
        assert zone is UTC
        return datetime(2026, 1, 2, 13, 4, 5, tzinfo=zone)

    monkeypatch.setattr(module, "datetime", SimpleNamespace(now=now))
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return lambda: capsys.readouterr().err.splitlines()


def test_log_lines_have_utc_time_and_a_word_instead_of_the_mark(
    log: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([5.0, 7.26])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    console = Console()

    console.say("a [b] c")
    console.good("done")
    console.warn(LONG)
    console.bad("gone")
    with console.step("building [b]"):
        console.detail("layer 25 of 30")

    time = "2026-01-02T13:04:05Z"
    assert log() == [
        *(f"{time} a [b] c", f"{time} done", f"{time} warning: {LONG}", f"{time} error: gone"),
        *(f"{time} building [b] ...", f"{time} building [b] (2.3 s)"),
    ]


def test_error_shows_program_output_problem_and_next_step(
    log: Callable[[], list[str]],
) -> None:
    Console().fault(StackctlError("it [failed]", "Do [this],\nthen that.", output="a [b]\n\nc"))

    problem = "2026-01-02T13:04:05Z error: it [failed]"
    assert log() == ["    a [b]", "    ", "    c", problem, "    Do [this],", "    then that."]


def test_json_result_is_one_line_and_only_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    Console().result({"path": "no"})
    assert capsys.readouterr().out == ""

    Console(as_json=True).result({"path": Path("/a"), "code": 0})
    assert capsys.readouterr().out == '{"path": "/a", "code": 0}\n'


class Broken(io.StringIO):
    """A stream that cannot be written to."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


def test_result_that_cannot_be_written_is_a_warning(
    log: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(OSError(28, "No space left on device")))

    Console(as_json=True).result({"done": True})

    (line,) = log()
    assert line.endswith("warning: the result could not be printed: No space left on device")


@pytest.mark.parametrize("error", [OSError(5, "closed"), RuntimeError("reentrant call")])
def test_progress_that_cannot_be_written_is_dropped(error: Exception) -> None:
    stream = ProgressStream(Broken(error))

    assert stream.write("text") == 4
    stream.flush()


def test_progress_stream_passes_text_on_unchanged(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="latin-1") as log:
        stream = ProgressStream(log)

        assert stream.write("text") == 4
        stream.flush()
        assert (tmp_path / "log").read_text() == "text"
        assert (stream.encoding, stream.isatty()) == ("latin-1", False)
        assert stream.fileno() == log.fileno()


def test_table_in_a_pipe_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    Console().out.print(LONG * 20)

    assert capsys.readouterr().out.splitlines() == [LONG * 20]
