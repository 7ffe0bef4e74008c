"""Wait for a condition instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], *, seconds: float, what: str) -> T:
    """Return the first true result of `condition`.

    Args:
        condition: called repeatedly; an OSError (refused, reset) or AssertionError means not yet.
        seconds: a generous limit.
        what: the awaited condition, for the failure message.

    Raises:
        AssertionError: the condition was not true in time.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if last := condition():
                return last
        except (OSError, AssertionError) as error:
            last = error
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds:g} s: {what} (last: {last!r})")
