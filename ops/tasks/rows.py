"""The rows of tasks that are not lost: waiting, running, done or failed.

Each change of state is one UPDATE that holds only if the row is still as it was seen, so that
nothing is done twice, whichever worker or message comes first.
"""

import datetime
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from celery.exceptions import WorkerLostError
from django.db import DatabaseError, transaction
from django.db.models import F, Max, Q
from django.utils import timezone
from kombu.utils.json import dumps, loads

from ops.celery import app
from ops.database import rounds
from ops.models import Task

logger = logging.getLogger(__name__)

Status = Task.Status

# The header of a message that has its row's id.
HEADER = "ops_task"
# A task without a time limit of its own, and what is granted on top: its process ends a bit later.
NO_LIMIT_SECONDS = 3600
GRACE_SECONDS = 5
# A worker is lost that is killed or cut off from the broker. The task itself may be the cause.
MAX_LOSSES = 2
# A message counts as lost after the first when the broker's queue is empty. In a long queue it is
# after the second, if a worker has received a later one, and after the third in any case. To send
# one that is not lost does no harm, but to send all of a long queue would fill the broker.
LOST_SECONDS = 5
QUEUED_LOST_SECONDS = 300
QUEUED_LOST_AT_LAST = datetime.timedelta(days=1)
# Rows that are sent at a time.
ROUND = 1000
# How long rows of ended tasks are kept.
KEEP_DONE = datetime.timedelta(days=7)
KEEP_FAILED = datetime.timedelta(days=90)


def add(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], due: datetime.datetime) -> Task:
    """Write the row of a task that may run from `due` on.

    Raises:
        TypeError: an argument is no JSON.
    """
    now = timezone.now()
    return Task.objects.create(
        name=name,
        args=dumps(list(args)),
        kwargs=dumps(dict(kwargs)),
        due=due,
        sent=now if due <= now else None,
        request_id=structlog.contextvars.get_contextvars().get("request_id", ""),
    )


def adopt(message: str, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Create and return the row of a message that has none."""
    now = timezone.now()
    key = uuid.uuid5(uuid.NAMESPACE_OID, message)
    values = {"name": name, "args": dumps(list(args)), "kwargs": dumps(dict(kwargs))}
    # When it was sent is not known; `_received_until` must not take it for a new one.
    due = now - QUEUED_LOST_AT_LAST
    Task.objects.get_or_create(pk=key, defaults={**values, "due": due, "sent": now})
    return str(key)


def send(task: Task) -> bool:
    """Send a task's message, quickly or not at all; false if the broker did not accept it.

    A row whose message is not sent is marked so, for the next round of `send_due`.
    """
    try:
        app.send_task(
            task.name, loads(task.args), loads(task.kwargs), headers={HEADER: str(task.pk)}
        )
    except Exception as error:  # also what a broker refuses, whose errors have no common name
        what = f"{type(error).__name__}: {error}"
        logger.warning("task %s %s waits for the message broker: %s", task.name, task.pk, what)
        try:
            Task.objects.filter(pk=task.pk, status=Status.WAITING).update(sent=None)
        except DatabaseError:
            logger.warning("task %s %s is not marked as unsent", task.name, task.pk)
        return False
    return True


def claim(key: str, message: str, lease: datetime.timedelta) -> Task | None:
    """Begin a task; None if there is nothing to do, or another worker runs it.

    Args:
        key: the row's id.
        message: the message's id. The same one again means that its first worker was lost, or lost
            the broker and still works; the last try is left alone until its lease is over.
        lease: how long this try may take.
    """
    now = timezone.now()
    requeue_lost(Q(pk=key) & (Q(lease__lt=now) | Q(message=message, losses__lt=MAX_LOSSES - 1)))
    claimed = Task.objects.filter(pk=key, status=Status.WAITING, due__lte=now).update(
        status=Status.RUNNING, message=message, lease=now + lease, attempts=F("attempts") + 1
    )
    return Task.objects.filter(pk=key).first() if claimed else None


def finish(task: Task) -> bool:
    """Mark a task as done; false if another worker has it by now."""
    return _end(task, Status.DONE, "")


def fail(task: Task, error: Exception) -> bool:
    """Mark a task as failed for good, and let it know; false if another worker has it by now."""
    with transaction.atomic():
        ended = _end(task, Status.FAILED, f"{type(error).__name__}: {error}")
        if ended:
            _notify(task, error)
    return ended


def give_back(task: Task, pause: datetime.timedelta) -> None:
    """Let a task run again after a pause."""
    Task.objects.filter(pk=task.pk, status=Status.RUNNING, message=task.message).update(
        status=Status.WAITING, due=timezone.now() + pause, sent=None, lease=None
    )


def retry(keys: Sequence[uuid.UUID]) -> int:
    """Let failed tasks run again; return how many."""
    now = timezone.now()
    count = 0
    for key in keys:
        if Task.objects.filter(pk=key, status=Status.FAILED).update(
            **{"status": Status.WAITING, "attempts": 0, "losses": 0, "error": ""},
            **{"due": now, "sent": None, "lease": None, "finished": None},
        ):
            count += 1
    return count


def send_due() -> int:
    """Send what has become due; return how many. Several workers may do it at once.

    Raises:
        django.db.Error: the database is down.
    """
    return _send(Q(sent=None))


def recover() -> int:
    """Send again what has lost its message, and requeue what has lost its worker.

    Raises:
        kombu.exceptions.OperationalError: the broker is down; OSError may say so too.
        django.db.Error: the database is down.
    """
    now = timezone.now()
    until = now - datetime.timedelta(seconds=LOST_SECONDS)
    if app.queue_length():
        at_last = now - QUEUED_LOST_AT_LAST
        received = max(at_last, _received_until() or at_last)
        until = min(now - datetime.timedelta(seconds=QUEUED_LOST_SECONDS), received)
    requeue_lost(Q(lease__lt=now))
    return _send(Q(sent__lt=until))


def forget_old() -> int:
    """Delete the rows of tasks that ended long ago; return how many."""
    now = timezone.now()
    old = Q(status=Status.DONE, finished__lt=now - KEEP_DONE)
    old |= Q(status=Status.FAILED, finished__lt=now - KEEP_FAILED)
    return rounds.delete(Task.objects.filter(old))


def requeue_lost(which: Q) -> None:
    """Let running tasks run again whose worker was lost; fail those that lost their last one."""
    running = Task.objects.filter(which, status=Status.RUNNING)
    for task in running.filter(losses__gte=MAX_LOSSES - 1):
        fail(task, WorkerLostError(f"Its worker was lost {MAX_LOSSES} times."))
    running.update(status=Status.WAITING, sent=None, lease=None, losses=F("losses") + 1)


def _received_until() -> datetime.datetime | None:
    """Return when the latest task was due that a worker has begun; None if there was none.

    Its message was sent then or later, and a broker keeps the order of messages: each that was
    sent earlier is received too, or lost.
    """
    dues = [
        Task.objects.filter(status=status).aggregate(Max("due"))["due__max"]
        for status in (Status.RUNNING, Status.DONE, Status.FAILED)
    ]
    return max(filter(None, dues), default=None)


def _send(which: Q) -> int:
    now = timezone.now()
    # What this release does not know waits for a worker that does.
    known = Task.objects.filter(which, name__in=list(app.tasks))
    due = known.filter(status=Status.WAITING, due__lte=now)
    count = 0
    for task in due.order_by("sent", "due")[:ROUND]:
        # Only if no other worker has sent it since.
        unsent = Task.objects.filter(pk=task.pk, status=Status.WAITING, sent=task.sent)
        if not unsent.update(sent=now):
            continue
        with structlog.contextvars.bound_contextvars(request_id=task.request_id):
            if not send(task):
                break
        count += 1
    if count:
        logger.info("sent %d tasks", count)
    return count


def _end(task: Task, status: str, error: str) -> bool:
    mine = Task.objects.filter(pk=task.pk, status=Status.RUNNING, message=task.message)
    return bool(mine.update(status=status, error=error[:200], finished=timezone.now(), lease=None))


def _notify(task: Task, error: Exception) -> None:
    known = app.tasks.get(task.name)
    if known is None:
        logger.warning("task %s has failed, and this release does not know it", task.name)
        return
    known.on_failed(error, *loads(task.args), **loads(task.kwargs))
