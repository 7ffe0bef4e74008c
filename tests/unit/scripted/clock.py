"""A clock that moves only when a caller waits."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

# No command waits longer than the longest pause of `heal --watch`, many times over.
LONGEST_SECONDS = 10_000.0


class Clock:
    """What stackctl's modules have instead of the module `time`."""

    gmtime = staticmethod(time.gmtime)

    def __init__(self) -> None:
        """Start at some moment."""
        self.now = 1000.0
        # What happens while stackctl waits, each with its moment.
        self.plans: list[tuple[float, Callable[[], object]]] = []

    def plan(self, seconds: float, action: Callable[[], object]) -> None:
        """Have something happen in so many seconds."""
        self.plans.append((self.now + seconds, action))
        self.plans.sort(key=lambda plan: plan[0])

    def monotonic(self) -> float:
        """Return the present moment."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += max(seconds, 0.001)
        while self.plans and self.plans[0][0] <= self.now:
            self.plans.pop(0)[1]()
        if self.now > LONGEST_SECONDS:
            pytest.fail("stackctl waits for ever")

    def strftime(self, form: str, *_: object) -> str:
        """Return the moment as a date; each one is another second."""
        self.now += 1
        return time.strftime(form, time.gmtime(1_900_000_000 + self.now))
