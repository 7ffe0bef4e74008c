"""What a worker says of itself."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings

from ops.worker import upkeep
from ops.worker.upkeep import LOOP_SECONDS, Upkeep


class Consumer:
    """Celery's, as far as the upkeep sees it: a loop, which does what it is asked to."""

    def __init__(self) -> None:
        """Begin connected."""
        self.connection: object | None = object()
        self.asked: list[Callable[[], None]] = []
        self.call_soon = self.asked.append

    def turn(self) -> None:
        """Turn once."""
        while self.asked:
            self.asked.pop()()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(upkeep, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(upkeep.beats, "touch", lambda: None)
    monkeypatch.setattr(upkeep.beats, "beat", lambda name: None)
    return clock


def test_a_loop_without_timers_that_stands_still_is_seen(clock: Any) -> None:
    """Kafka's, and that of messages in files: nothing else would ever call the worker ill."""
    consumer = Consumer()
    watch = Upkeep(SimpleNamespace(use_eventloop=False, consumer=consumer, hostname="here"))

    for _ in range(3):
        clock.now += LOOP_SECONDS / 2
        watch.beat()
        consumer.turn()
        assert watch.is_well()
    for _ in range(3):
        clock.now += LOOP_SECONDS / 2
        watch.beat()
    assert not watch.is_well()
    # It is asked no more than once, however long it stands.
    assert len(consumer.asked) == 1

    consumer.turn()
    assert watch.is_well()
    clock.now += LOOP_SECONDS * 2
    consumer.connection = None
    assert watch.is_well(), "it waits for its broker"

    # That is over, and its loop has not turned since.
    consumer.connection = object()
    assert watch.is_well()
    clock.now += LOOP_SECONDS
    assert not watch.is_well()


def test_a_worker_that_stops_is_well_while_its_tasks_end_and_no_longer(clock: Any) -> None:
    """Its row stays: its successor is expected within STALE_SECONDS."""
    watch = Upkeep(SimpleNamespace(use_eventloop=True, consumer=Consumer(), hostname="here"))

    watch.stop(watch.worker)

    assert watch.periodic and all(thread.over.is_set() for thread in watch.periodic)
    assert not watch.heartbeat.over.is_set()
    clock.now += settings.JOB_LEASE_SECONDS
    assert watch.is_well()
    clock.now += LOOP_SECONDS
    assert not watch.is_well()
