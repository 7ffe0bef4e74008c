"""CELERY_BEAT_SCHEDULE: each due task is sent once, with any number of workers."""

import datetime
from typing import Any

import pytest
from celery import shared_task
from celery.schedules import crontab
from django.utils import timezone

from ops.celery import app
from ops.models import ScheduledTask, Task
from ops.tasks import DurableTask, schedule

pytestmark = pytest.mark.django_db

SENT: list[tuple[Any, ...]] = []


@shared_task(name="tests.plain")
def plain(*args: Any) -> None:
    """Do nothing."""


@shared_task(name="tests.durable", base=DurableTask)
def durable(*args: Any) -> None:
    """Do nothing, durably."""


@pytest.fixture(autouse=True)
def entries(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Set a schedule with one entry; record messages instead of sending them."""
    result: dict[str, Any] = {"hourly": {"task": "tests.plain", "schedule": 3600, "args": (1,)}}
    monkeypatch.setattr(app.conf, "beat_schedule", result)
    monkeypatch.setattr(app, "send_task", lambda name, args, *_, **__: SENT.append((name, *args)))
    SENT.clear()
    schedule._seen.clear()
    return result


def send_due_as_another_worker() -> int:
    """Send due tasks as another worker, which has seen no entry yet."""
    seen = dict(schedule._seen)
    schedule._seen.clear()
    try:
        return schedule.send_due()
    finally:
        schedule._seen.clear()
        schedule._seen.update(seen)


def later(name: str, seconds: float) -> None:
    """Move an entry back in time, in the table and in this process."""
    row = ScheduledTask.objects.get(name=name)
    row.last -= datetime.timedelta(seconds=seconds)
    row.save()
    schedule._seen[name] = row.last


def test_scheduled_task_is_sent_once_in_each_period() -> None:
    assert schedule.send_due() == 0
    later("hourly", 3599)
    assert schedule.send_due() == 0
    later("hourly", 1)
    assert schedule.send_due() == 1
    assert schedule.send_due() == 0
    assert SENT == [("tests.plain", 1)]


def test_scheduled_tasks_due_at_once_are_each_sent_with_their_options(
    entries: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    priorities: list[int | None] = []

    def send(*_: object, priority: int | None = None, **__: object) -> None:
        priorities.append(priority)

    monkeypatch.setattr(app, "send_task", send)
    entries["urgent"] = {**entries["hourly"], "options": {"priority": 7}}
    schedule.send_due()
    ScheduledTask.objects.update(last=timezone.now() - datetime.timedelta(hours=1))
    schedule._seen.clear()

    assert schedule.send_due() == 2
    assert priorities == [None, 7]
    assert schedule.send_due() == 0


def test_two_workers_send_a_scheduled_task_once() -> None:
    schedule.send_due()
    later("hourly", 3600)

    assert send_due_as_another_worker() == 1
    # This worker has read the row before.
    assert schedule.send_due() == 0
    assert schedule.send_due() == 0
    assert len(SENT) == 1


def test_schedule_continues_after_a_killed_worker() -> None:
    schedule.send_due()
    later("hourly", 3000)
    assert send_due_as_another_worker() == 0
    later("hourly", 600)
    assert send_due_as_another_worker() == 1


def test_scheduled_task_is_sent_when_the_broker_is_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send = app.send_task

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("away")

    schedule.send_due()
    later("hourly", 3600)
    monkeypatch.setattr(app, "send_task", fail)
    with pytest.raises(schedule.ScheduleError, match="'hourly': OSError: away"):
        schedule.send_due()

    monkeypatch.setattr(app, "send_task", send)
    assert schedule.send_due() == 1


def test_wrong_schedule_entry_is_named_and_does_not_block_others(entries: dict[str, Any]) -> None:
    entries.clear()
    entries |= {
        "misspelt": {"task": "tests.plian", "schedule": 60},
        "right": {"task": "tests.plain", "schedule": 60},
    }
    assert schedule.send_due() == 0
    for name in entries:
        later(name, 60)

    with pytest.raises(schedule.ScheduleError, match=r"'misspelt': NotRegistered: .*tests\.plian"):
        schedule.send_due()
    assert SENT == [("tests.plain",)]


def test_scheduled_durable_task_gets_its_row_when_due(entries: dict[str, Any]) -> None:
    entries["nightly"] = {"task": "tests.durable", "schedule": crontab(hour=3, minute=0)}
    schedule.send_due()
    later("nightly", 86_400)

    assert schedule.send_due() == 1
    assert Task.objects.get().name == "tests.durable"


def test_worker_warns_of_no_celery_setting() -> None:
    """Celery would report CELERY_TIMEZONE and others as deprecated, which they are not."""
    assert not app.conf.maybe_warn_deprecated_settings()
