"""A result that many ask for is looked up once, and again when it is old."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from ops.recent import Recent


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    yield now


def test_it_is_kept_for_its_time_and_no_longer(clock: list[float]) -> None:
    recent = Recent(count().__next__, seconds=2)

    assert [recent.get(), recent.get()] == [0, 0]
    clock[0] += 1.9
    assert recent.get() == 0
    clock[0] += 0.2
    assert recent.get() == 1


def test_the_time_counts_from_the_end_of_a_slow_look(clock: list[float]) -> None:
    numbers = count()

    def slow() -> int:
        clock[0] += 10
        return next(numbers)

    recent = Recent(slow, seconds=2)

    assert [recent.get(), recent.get()] == [0, 0]


def test_what_is_false_is_kept_as_well() -> None:
    looks = count()

    def look() -> bool:
        next(looks)
        return False

    recent = Recent(look, seconds=60)

    recent.get()
    recent.get()

    assert next(looks) == 1


def test_forgotten_means_looked_up_again() -> None:
    recent = Recent(count().__next__, seconds=60)

    recent.get()
    recent.forget()

    assert recent.get() == 1


def test_many_at_once_cause_one_look() -> None:
    numbers, began, go_on = count(), threading.Event(), threading.Event()

    def look() -> int:
        began.set()
        go_on.wait(10)
        return next(numbers)

    recent = Recent(look, seconds=60)
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(recent.get) for _ in range(8)]
        assert began.wait(10)
        go_on.set()

    assert [answer.result() for answer in answers] == [0] * 8
    assert next(numbers) == 1


def test_a_look_that_fails_is_tried_again() -> None:
    outcomes: Iterator[KeyError | int] = iter([KeyError("first"), 7])

    def look() -> int:
        outcome = next(outcomes)
        if isinstance(outcome, KeyError):
            raise outcome
        return outcome

    recent = Recent(look, seconds=60)

    with pytest.raises(KeyError):
        recent.get()
    assert recent.get() == 7
