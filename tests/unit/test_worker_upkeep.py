"""Heartbeat and periodic work of a worker."""

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
    """The part of the Celery consumer that the upkeep uses: a loop that runs callbacks."""

    def __init__(self) -> None:
        """Begin connected."""
        self.connection: object | None = object()
        self.callbacks: list[Callable[[], None]] = []
        self.call_soon = self.callbacks.append

    def turn(self) -> None:
        """Run the callbacks once."""
        while self.callbacks:
            self.callbacks.pop()()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that does not move."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(upkeep, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(upkeep.beats, "touch", lambda: None)
    monkeypatch.setattr(upkeep.beats, "beat", lambda name: None)
    return clock


def test_stuck_worker_loop_without_timers_is_detected(clock: Any) -> None:
    """As with Kafka and file messages; no other check detects it."""
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
    # At most one callback waits, however long the loop is stuck.
    assert len(consumer.callbacks) == 1

    consumer.turn()
    assert watch.is_well()
    clock.now += LOOP_SECONDS * 2
    consumer.connection = None
    assert watch.is_well(), "it waits for its broker"

    # It is connected again, and its loop has not run since.
    consumer.connection = object()
    assert watch.is_well()
    clock.now += LOOP_SECONDS
    assert not watch.is_well()


def test_stopping_worker_is_healthy_until_the_task_time_limit(clock: Any) -> None:
    """Its heartbeat row stays: its successor starts within STALE_SECONDS."""
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
    """Record the heartbeats, by worker."""
    sent: list[str] = []
    monkeypatch.setattr(upkeep.beats, "touch", lambda: sent.append("touch"))
    monkeypatch.setattr(upkeep.beats, "beat", sent.append)
    return sent


def upkeep_of_worker(*, use_eventloop: bool = True) -> Any:
    """Return the upkeep of a connected worker, with threads that only record their start."""
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


def test_worker_sends_heartbeats_only_while_it_is_healthy(clock: Any, sent: list[str]) -> None:
    watch = upkeep_of_worker()
    watch.heartbeat.once()
    assert sent == ["touch", "here"]

    clock.now += LOOP_SECONDS
    watch.beat()
    assert sent == ["touch", "here"]
    watch.tick()
    watch.beat()
    assert sent == ["touch", "here"] * 2


@pytest.mark.parametrize("use_eventloop", [True, False])
def test_heartbeat_and_periodic_work_start_with_the_worker(clock: Any, use_eventloop: bool) -> None:
    watch = upkeep_of_worker(use_eventloop=use_eventloop)
    clock.now += LOOP_SECONDS

    watch.start(watch.worker)

    assert watch.is_well(), "its start has taken long, not its loop"
    assert watch.heartbeat.began == [True] and watch.heartbeat.seconds == beats.EVERY_SECONDS
    assert all(thread.began == [True] for thread in watch.periodic)
    timer = [(beats.EVERY_SECONDS, watch.tick)]
    assert watch.worker.timer.calls == (timer if use_eventloop else [])


def test_terminated_worker_sends_no_further_heartbeat(clock: Any) -> None:
    watch = upkeep_of_worker()

    watch.terminate(watch.worker)

    assert all(thread.over.is_set() for thread in (watch.heartbeat, *watch.periodic))


def test_worker_ends_when_its_parent_was_killed(
    clock: Any, sent: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(upkeep.os, "kill", lambda *call: killed.append(call))
    watch = upkeep_of_worker()
    watch.beat()
    assert not killed

    monkeypatch.setattr(upkeep.os, "getppid", lambda: 1)
    watch.beat()
    assert killed == [(os.getpid(), signal.SIGTERM)]
    assert "the worker ends" in caplog.text


def test_periodic_work_has_its_own_request_id(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def work() -> None:
        seen.append(structlog.contextvars.get_contextvars()["request_id"])

    monkeypatch.setattr(
        registry, "periodic_work", {"sweep": registry.PeriodicWork("the sweep", 7, work)}
    )
    (thread,) = upkeep_of_worker().periodic
    assert (thread.name, thread.seconds) == ("the sweep", 7)

    thread.once()
    thread.once()
    assert len(set(seen)) == 2 and all(one.startswith("sweep-") for one in seen)
    assert "request_id" not in structlog.contextvars.get_contextvars()


def test_periodic_work_repeats_with_pauses_until_stopped() -> None:
    done: list[bool] = []
    thread = Regularly("the sweep", 0.001, lambda: done.append(True))
    # It must not delay the end of the worker.
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


def test_failure_of_periodic_work_is_logged_once_until_it_succeeds(
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
    # A forked process would inherit an open connection.
    assert len(closed) == 4


def test_heartbeat_touches_the_file_of_the_health_check(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "of/worker/heartbeat"
    settings.WORKER_HEARTBEAT_FILE = file

    for _ in range(2):
        beats.touch()
        os.utime(file, (0, 0))
    beats.touch()

    assert file.stat().st_mtime > 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("ages", "problem"),
    [
        ((), "none has reported yet"),
        ((3600, beats.STALE_SECONDS), ""),
        ((3600, beats.STALE_SECONDS + 1), f"none was seen for {beats.STALE_SECONDS} s"),
    ],
)
def test_one_worker_seen_lately_is_enough(
    monkeypatch: pytest.MonkeyPatch, ages: tuple[int, ...], problem: str
) -> None:
    now = timezone.now()
    monkeypatch.setattr(beats.timezone, "now", lambda: now)
    for age in ages:
        seen = now - datetime.timedelta(seconds=age)
        WorkerBeat.objects.create(name=f"{age} s old", seen=seen)

    assert beats.problem() == problem


@pytest.mark.django_db
def test_worker_has_one_heartbeat_row_and_old_rows_are_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = timezone.now()
    monkeypatch.setattr(beats.timezone, "now", lambda: now)
    for age in (1, beats.STALE_SECONDS, beats.STALE_SECONDS + 1, 3600, 3601):
        seen = now - datetime.timedelta(seconds=age)
        WorkerBeat.objects.create(name=f"{age} s old", seen=seen)
    for _ in range(2):
        beats.beat("here")
    assert WorkerBeat.objects.get(name="here").seen == now
    rows = sorted(WorkerBeat.objects.values_list("name", flat=True))
    assert rows == ["1 s old", "30 s old", "31 s old", "3600 s old", "here"]
