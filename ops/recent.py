"""A result that is looked up again only when it is some seconds old."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """What a look found, kept in this process, so that many who ask cause one look.

    In the process rather than in the cache: what is looked at may be the cache itself.
    """

    def __init__(self, load: Callable[[], T], *, seconds: float) -> None:
        """Keep what `load` finds for so many seconds."""
        self.load = load
        self.seconds = seconds
        self.lock = Lock()
        # Empty before the first look.
        self.result: list[T] = []
        self.at = 0.0

    def get(self) -> T:
        """Return the latest result, or call again; other threads wait for that call."""
        with self.lock:
            if not self.result or time.monotonic() - self.at > self.seconds:
                self.result = [self.load()]
                # From the end of the look: a slow one is not followed by the next at once.
                self.at = time.monotonic()
            return self.result[0]

    def forget(self) -> None:
        """Look again the next time."""
        self.result = []
