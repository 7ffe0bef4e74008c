"""Ctrl-C as a request: noted at once, granted when every server is in service."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handling(
    signals: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Handle signals during the block, and as before after it."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


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

        with handling(SIGNALS, note):
            yield
