"""A result that is cached for some seconds."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """A result that is cached in this process, so that many requests cause one call.

    In the process rather than in the cache: it may be the state of the cache itself.
    """

    def __init__(self, load: Callable[[], T], *, seconds: float) -> None:
        """Cache the result of `load` for `seconds`."""
        self.load = load
        self.seconds = seconds
        self.lock = Lock()
        # Empty before the first call.
        self.result: list[T] = []
        self.at = 0.0

    def get(self) -> T:
        """Return the latest result, or call again; other threads wait for that call."""
        with self.lock:
            if not self.result or time.monotonic() - self.at > self.seconds:
                self.result = [self.load()]
                # From the end of the call, so that a slow one is not repeated at once.
                self.at = time.monotonic()
            return self.result[0]

    def forget(self) -> None:
        """Call `load` again the next time."""
        self.result = []
