"""A result that many callers share is computed once, and again when it expires."""

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


def test_result_is_reused_until_it_expires(clock: list[float]) -> None:
    recent = Recent(count().__next__, seconds=2)

    assert [recent.get(), recent.get()] == [0, 0]
    clock[0] += 1.9
    assert recent.get() == 0
    clock[0] += 0.2
    assert recent.get() == 1


def test_result_expires_counted_from_the_end_of_a_slow_call(clock: list[float]) -> None:
    numbers = count()

    def slow() -> int:
        clock[0] += 10
        return next(numbers)

    recent = Recent(slow, seconds=2)

    assert [recent.get(), recent.get()] == [0, 0]


def test_false_result_is_reused() -> None:
    calls = count()

    def compute() -> bool:
        next(calls)
        return False

    recent = Recent(compute, seconds=60)

    recent.get()
    recent.get()

    assert next(calls) == 1


def test_forgotten_result_is_computed_again() -> None:
    recent = Recent(count().__next__, seconds=60)

    recent.get()
    recent.forget()

    assert recent.get() == 1


def test_parallel_callers_share_one_call() -> None:
    numbers, began, resumed = count(), threading.Event(), threading.Event()

    def compute() -> int:
        began.set()
        resumed.wait(10)
        return next(numbers)

    recent = Recent(compute, seconds=60)
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(recent.get) for _ in range(8)]
        assert began.wait(10)
        resumed.set()

    assert [answer.result() for answer in answers] == [0] * 8
    assert next(numbers) == 1


def test_failed_call_is_repeated() -> None:
    outcomes: Iterator[KeyError | int] = iter([KeyError("first"), 7])

    def compute() -> int:
        outcome = next(outcomes)
        if isinstance(outcome, KeyError):
            raise outcome
        return outcome

    recent = Recent(compute, seconds=60)

    with pytest.raises(KeyError):
        recent.get()
    assert recent.get() == 7
