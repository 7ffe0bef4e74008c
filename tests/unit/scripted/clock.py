"""A clock that moves only when a caller waits."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

# Longer than any command waits.
LONGEST_SECONDS = 10_000.0


class Clock:
    """The replacement for the module `time` in stackctl."""

    gmtime = staticmethod(time.gmtime)

    def __init__(self) -> None:
        """Set the start time."""
        self.now = 1000.0
        # Actions while stackctl waits, each with its moment.
        self.plans: list[tuple[float, Callable[[], object]]] = []

    def plan(self, seconds: float, action: Callable[[], object]) -> None:
        """Run an action in `seconds`."""
        self.plans.append((self.now + seconds, action))
        self.plans.sort(key=lambda plan: plan[0])

    def time(self) -> float:
        """Return the present moment."""
        return self.now

    def monotonic(self) -> float:
        """Return the present moment."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Move the clock, and run the due actions."""
        self.now += max(seconds, 0.001)
        while self.plans and self.plans[0][0] <= self.now:
            self.plans.pop(0)[1]()
        if self.now > LONGEST_SECONDS:
            pytest.fail("stackctl waits forever")

    def strftime(self, form: str, *_: object) -> str:
        """Return the moment as a date; each call moves the clock by a second."""
        self.now += 1
        return time.strftime(form, time.gmtime(1_900_000_000 + self.now))
