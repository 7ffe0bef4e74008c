"""Periodic tasks: CELERY_BEAT_SCHEDULE, each time of an entry sent once, however many workers run.

Every worker checks; each entry's row says when it was last due. The worker that changes the row
sends the task in the same transaction, so one that is killed, or cannot reach the broker, leaves it
to the next round. No process has to be the scheduler.

https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html
"""

import datetime
from typing import Any

from celery.beat import ScheduleEntry
from django.db import transaction
from django.utils import timezone

from ops.celery import app
from ops.models import ScheduledTask


class ScheduleError(Exception):
    """An entry of CELERY_BEAT_SCHEDULE is not sent; the message names it and says why."""


# What this process last read, so that it queries the database only when an entry is due.
_seen: dict[str, datetime.datetime] = {}


def send_due() -> int:
    """Send the tasks of all entries that are due; return how many.

    Raises:
        ScheduleError: an entry cannot be sent: it is wrong, or the broker or the database is down.
            The others are sent, and this one is tried again in the next round.
    """
    count = 0
    first = None
    for name, fields in app.conf.beat_schedule.items():
        try:
            count += _send_if_due(name, fields)
        except Exception as error:
            first = first or ScheduleError(f"{name!r}: {type(error).__name__}: {error}")
    if first:
        raise first
    return count


def _send_if_due(name: str, fields: dict[str, Any]) -> bool:
    if name not in _seen:
        # The first time is one period after the entry was first seen, as Celery's own beat has it.
        row, _ = ScheduledTask.objects.get_or_create(name=name, defaults={"last": timezone.now()})
        _seen[name] = row.last
    entry = ScheduleEntry(name=name, app=app, last_run_at=_seen[name], **fields)
    if not entry.is_due()[0]:
        return False
    now = timezone.now()
    with transaction.atomic():
        mine = ScheduledTask.objects.filter(name=name, last=_seen[name]).update(last=now)
        if mine:
            app.tasks[entry.task].apply_async(entry.args, entry.kwargs, **entry.options)
    if mine:
        _seen[name] = now
    else:
        # Another worker has sent it, or the row was deleted.
        del _seen[name]
    return bool(mine)
