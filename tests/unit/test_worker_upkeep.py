"""A worker's heartbeat and periodic work."""

import datetime
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from django.conf import settings
from django.utils import timezone
from pytest_django import Settings

from ops import registry
from ops.models import WorkerBeat
from ops.worker import beats, regularly, upkeep
from ops.worker.regularly import Regularly
from ops.worker.upkeep import LOOP_SECONDS, Upkeep
from tests.waiting import eventually


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
    """A clock that does not move."""
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
    # It is asked no more than once, however long it is stuck.
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
    clock.now += settings.CELERY_TASK_TIME_LIMIT
    assert watch.is_well()
    clock.now += LOOP_SECONDS
    assert not watch.is_well()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the heartbeats that are sent, by whom."""
    sent: list[str] = []
    monkeypatch.setattr(upkeep.beats, "touch", lambda: sent.append("touch"))
    monkeypatch.setattr(upkeep.beats, "beat", sent.append)
    return sent


def watched(*, use_eventloop: bool = True) -> Any:
    """Return the upkeep of a worker that is connected, whose threads only note what happens."""
    timer = SimpleNamespace(calls=[])
    timer.call_repeatedly = lambda *call: timer.calls.append(call)
    watch: Any = Upkeep(
        SimpleNamespace(
            use_eventloop=use_eventloop, consumer=Consumer(), hostname="here", timer=timer
        )
    )
    for thread in (watch.heartbeat, *watch.periodic):
        thread.began = []
        thread.start = lambda thread=thread: thread.began.append(True)
    return watch


def test_a_heartbeat_is_sent_while_the_worker_is_well(clock: Any, sent: list[str]) -> None:
    watch = watched()
    watch.heartbeat.once()
    assert sent == ["touch", "here"]

    clock.now += LOOP_SECONDS
    watch.beat()
    assert sent == ["touch", "here"]
    watch.tick()
    watch.beat()
    assert sent == ["touch", "here"] * 2


@pytest.mark.parametrize("use_eventloop", [True, False])
def test_heartbeat_and_periodic_work_begin_with_the_worker(clock: Any, use_eventloop: bool) -> None:
    watch = watched(use_eventloop=use_eventloop)
    clock.now += LOOP_SECONDS

    watch.start(watch.worker)

    assert watch.is_well(), "its start has taken long, not its loop"
    assert watch.heartbeat.began == [True] and watch.heartbeat.seconds == beats.EVERY_SECONDS
    assert all(thread.began == [True] for thread in watch.periodic)
    timer = [(beats.EVERY_SECONDS, watch.tick)]
    assert watch.worker.timer.calls == (timer if use_eventloop else [])


def test_a_worker_that_is_terminated_sends_no_further_heartbeat(clock: Any) -> None:
    watch = watched()

    watch.terminate(watch.worker)

    assert all(thread.over.is_set() for thread in (watch.heartbeat, *watch.periodic))


def test_a_worker_ends_when_its_parent_was_killed(
    clock: Any, sent: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(upkeep.os, "kill", lambda *call: killed.append(call))
    watch = watched()
    watch.beat()
    assert not killed

    monkeypatch.setattr(upkeep.os, "getppid", lambda: 1)
    watch.beat()
    assert killed == [(os.getpid(), signal.SIGTERM)]
    assert "the worker ends" in caplog.text


def test_periodic_work_has_a_request_id_of_its_own(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def work() -> None:
        seen.append(structlog.contextvars.get_contextvars()["request_id"])

    monkeypatch.setattr(
        registry, "periodic_work", {"sweep": registry.PeriodicWork("the sweep", 7, work)}
    )
    (thread,) = watched().periodic
    assert (thread.name, thread.seconds) == ("the sweep", 7)

    thread.once()
    thread.once()
    assert len(set(seen)) == 2 and all(one.startswith("sweep-") for one in seen)
    assert "request_id" not in structlog.contextvars.get_contextvars()


def test_work_is_repeated_with_pauses_until_it_is_stopped() -> None:
    done: list[bool] = []
    thread = Regularly("the sweep", 0.001, lambda: done.append(True))
    # It must not delay the worker's end.
    assert thread.daemon and thread.name == "the sweep"

    thread.start()
    eventually(lambda: len(done) > 2, seconds=30, what="it is repeated")
    thread.stop()
    thread.join(30)
    assert not thread.is_alive()

    pauses: list[float] = []
    thread = Regularly("the sweep", 5, list)
    vars(thread)["over"] = SimpleNamespace(is_set=lambda: len(pauses) == 2, wait=pauses.append)
    thread.run()
    assert pauses == [5, 5]


def test_a_failure_of_periodic_work_is_logged_once_until_it_succeeds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(regularly.connections, "close_all", lambda: closed.append(True))
    results = [ValueError("one"), ValueError("two"), None, ValueError("three")]

    def work() -> None:
        if error := results.pop(0):
            raise error

    thread = Regularly("the sweep", 5, work)
    for _ in range(4):
        thread.once()

    assert [(one.levelno, one.getMessage()) for one in caplog.records] == [
        (logging.WARNING, "the sweep failed: ValueError: one"),
        (logging.WARNING, "the sweep failed: ValueError: three"),
    ]
    # A process that is forked meanwhile would inherit an open one.
    assert len(closed) == 4


def test_the_health_check_s_file_is_touched(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "of/worker/heartbeat"
    settings.WORKER_HEARTBEAT_FILE = file

    for _ in range(2):
        beats.touch()
        os.utime(file, (0, 0))
    beats.touch()

    assert file.stat().st_mtime > 0


@pytest.mark.django_db
def test_a_worker_has_one_row_and_old_rows_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    monkeypatch.setattr(beats.timezone, "now", lambda: now)
    for age in (1, beats.STALE_SECONDS, beats.STALE_SECONDS + 1, 3600, 3601):
        seen = now - datetime.timedelta(seconds=age)
        WorkerBeat.objects.create(name=f"{age} s old", seen=seen)
    assert beats.fresh() == 2

    for _ in range(2):
        beats.beat("here")
    assert beats.fresh() == 3
    assert WorkerBeat.objects.get(name="here").seen == now
    rows = sorted(WorkerBeat.objects.values_list("name", flat=True))
    assert rows == ["1 s old", "30 s old", "31 s old", "3600 s old", "here"]
