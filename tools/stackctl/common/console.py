"""What the person sees: progress on standard error, the result on standard output.

A terminal gets a moving line and colours, a log plain lines with the time. With --json standard
output is one JSON object and nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.status import Status

from .faults import StackctlError


class ProgressStream:
    """A stream whose reader may go away: a closed terminal, an ended `tee`, a full disk.

    A release in the middle of its way has to come to its end then, too.
    """

    def __init__(self, stream: TextIO) -> None:
        """Take the stream as it is now; rich puts another in its place while a line moves."""
        self._stream = stream
        self.encoding = stream.encoding
        self.isatty = stream.isatty
        self.fileno = stream.fileno

    def write(self, text: str) -> int:
        """Write what can be written."""
        # A signal's message in the middle of another one is refused as "reentrant".
        with suppress(OSError, RuntimeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what can be passed on."""
        with suppress(OSError, RuntimeError):
            self._stream.flush()


class Console:
    """Where a command reports to."""

    def __init__(self, *, as_json: bool = False) -> None:
        """Detect whether a terminal is attached."""
        self.as_json = as_json
        # A table in a log or a pipe is as wide as it needs to be.
        width = None if sys.stdout.isatty() else 10_000
        self.out = RichConsole(highlight=False, width=width)
        self._err = RichConsole(
            file=cast(TextIO, ProgressStream(sys.stderr)), highlight=False, soft_wrap=True
        )
        self.live = self._err.is_terminal
        # Only what is wrong, and what a command did in the end.
        self.quiet = False
        self._status: Status | None = None
        self._step = ""

    def say(self, text: str) -> None:
        """Print an event."""
        if not self.quiet:
            self._line(text)

    def good(self, text: str) -> None:
        """Print a success."""
        self._line(text, "green", mark="✓")

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._line(text, "yellow", mark="!")

    def bad(self, text: str) -> None:
        """Print a failure."""
        self._line(text, "red", mark="✗")

    def detail(self, text: str) -> None:
        """Show a running program's latest line; kept only in a terminal's moving line."""
        if self._status is not None and text.strip():
            shown = f"{self._step}: {text.strip()}"
            self._status.update(escape(shown[: max(20, self._err.width - 4)]))

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show work in progress, and how long it took."""
        started = time.monotonic()
        self._step = text
        if self.live:
            with self._err.status(escape(text)) as self._status:
                try:
                    yield
                finally:
                    self._status = None
        else:
            self.say(f"{text} ...")
            yield
        if not self.quiet:
            self.good(f"{text} ({time.monotonic() - started:.1f} s)")

    def lines(self, text: str) -> None:
        """Show a program's own output, indented."""
        for line in text.splitlines():
            self._err.print(f"    {escape(line)}")

    def fault(self, error: StackctlError) -> None:
        """Show a fault: the failed program's lines, what is wrong, the next step."""
        self.lines(error.output)
        self.bad(error.problem)
        self.lines(error.hint)

    def result(self, data: Mapping[str, Any]) -> None:
        """Print the result as JSON, with --json."""
        if self.as_json:
            try:
                sys.stdout.write(json.dumps(data, default=str) + "\n")
                sys.stdout.flush()
            except OSError as error:
                # What was done is done; the exit code says how it ended.
                self.warn(f"the result could not be printed: {error.strerror}")

    def _line(self, text: str, style: str = "", mark: str = "") -> None:
        if self.live:
            shown = f"{mark} {text}" if mark else text
            self._err.print(escape(shown), style=style)
        else:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            prefix = {"✗": "error: ", "!": "warning: "}.get(mark, "")
            self._err.print(f"{now} {prefix}{escape(text)}")
