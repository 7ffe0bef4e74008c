"""Ctrl-C as a request: noted at once, granted when every server is in service."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """Whether the user pressed Ctrl-C; long work checks it between its steps."""

    def __init__(self) -> None:
        """Begin without a request to stop."""
        self.requested = False

    @contextmanager
    def noted(self, say: Callable[[str], object]) -> Iterator[None]:
        """Note SIGINT, SIGTERM and SIGHUP instead of dying of them while the block runs."""

        def note(number: int, frame: FrameType | None) -> None:
            if not self.requested:
                self.requested = True
                say("interrupted: stopping as soon as every server is in service again")

        before = {number: signal.signal(number, note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
