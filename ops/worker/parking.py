"""Tasks that this release does not know: kept in the database until a worker knows them.

While a release rolls, old and new code send and receive each other's tasks; after a rollback tasks
of the later release may still be queued. Celery would discard them. Their messages are kept in a
table, the same for every broker, and a worker that knows the task sends the message again.
"""

import base64
import datetime
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery, Task
from celery.worker.consumer import Consumer
from django.conf import settings
from django.db import connections, transaction
from django.utils import timezone
from kombu import Message
from kombu.serialization import prepare_accept_content
from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import dumps, loads

from ops.celery import app
from ops.models import ParkedTask
from ops.tasks.rows import HEADER

logger = logging.getLogger(__name__)

# A message is kept this long, and then dropped with an error in the log.
KEEP_DAYS = 30
# The pause before another try to keep a message while the database is down.
PAUSE_SECONDS = 5.0


class TaskConsumer(Consumer):
    """Celery's consumer, which parks what Celery's own would discard.

    https://docs.celeryq.dev/en/stable/userguide/extending.html
    """

    def update_strategies(self) -> None:
        """Check each message's arguments before Celery's own handler of the task gets it."""
        super().update_strategies()
        for name, handler in self.strategies.items():
            self.strategies[name] = partial(self.receive, self.app.tasks[name], handler)

    def receive(self, task: Task, handler: Callable[..., Any], message: Message, *rest: Any) -> Any:
        """Hand a message to its task, or park it where the task takes other arguments."""
        reason = misfit(task, message)
        if not reason:
            return handler(message, *rest)
        return self.park(message, task.name, reason)

    def on_unknown_task(self, body: object, message: Message, exc: Exception) -> None:
        """Park a message whose task is not registered."""
        name = message.headers.get("task") or message.payload["task"]
        self.park(message, name, "is not registered")

    def park(self, message: Message, name: str, reason: str) -> None:
        """Keep a message in the table, then acknowledge it.

        While the database is down it stays unacknowledged, so that the broker keeps it. A task that
        has a row in ops_task needs no second one: a worker that knows it sends it again.
        """
        try:
            if HEADER not in message.headers:
                keep(message, name)
        except Exception as error:
            logger.warning(
                "task %s %s in release %s, and cannot be parked (%s: %s); next try in %g s",
                *(name, reason, settings.RELEASE, type(error).__name__, error, PAUSE_SECONDS),
            )
            # A timer's own thread must not touch the broker's connection.
            arguments = (self.park, message, name, reason)
            self.timer.call_after(PAUSE_SECONDS, self.call_soon, arguments)
            return
        finally:
            # Processes that are forked later would inherit it.
            connections.close_all()
        logger.warning(
            "task %s %s in release %s: parked until a worker knows it",
            *(name, reason, settings.RELEASE),
        )
        message.ack_log_error(logger, self.connection_errors)


def misfit(task: Task, message: Message) -> str:
    """Return why a task cannot be called with a message's arguments; empty if it can."""
    check = getattr(task, "__header__", None) if task.typing else None
    try:
        payload = message.payload
        if isinstance(payload, dict):
            args, kwargs = payload.get("args", ()), payload.get("kwargs", {})
        else:
            args, kwargs, *_ = payload
    except Exception as error:
        # Also a serializer that this release does not accept.
        return f"cannot be read ({type(error).__name__}: {error})"
    try:
        if check is not None:
            check(*args, **kwargs)
    except TypeError as error:
        return f"takes other arguments ({error})"
    return ""


def keep(message: Message, name: str) -> None:
    """Write a message into the table."""
    envelope = {
        "body": base64.b64encode(str_to_bytes(message.body)).decode(),
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "headers": message.headers,
        "properties": {
            key: message.properties[key]
            for key in ("correlation_id", "reply_to", "priority")
            if message.properties.get(key) is not None
        },
    }
    ParkedTask.objects.create(task=name, message=dumps(envelope), parked=timezone.now())


def send_known() -> int:
    """Send the parked tasks that this release knows, and return how many; drop those too old.

    Raises:
        kombu.exceptions.OperationalError: the broker is down, as OSError may say too.
        django.db.Error: the database is down.
    """
    count = 0
    known = ParkedTask.objects.filter(task__in=list(app.tasks)).order_by("pk")
    for key in list(known.values_list("pk", flat=True)):
        parked = known.filter(pk=key).first()
        if parked is None:
            continue
        envelope = loads(parked.message)
        message = Message(
            base64.b64decode(envelope["body"]),
            accept=prepare_accept_content(app.conf.accept_content),
            **{name: envelope[name] for name in ("content_type", "content_encoding", "headers")},
        )
        if misfit(app.tasks[parked.task], message):
            continue
        # Deleted first: a worker that does not know the task may park the message again at once.
        with transaction.atomic():
            deleted, _ = ParkedTask.objects.filter(pk=parked.pk).delete()
            if deleted:
                publish(app, parked.task, message, envelope["properties"])
                count += 1
    drop_old()
    if count:
        logger.info("sent %d parked tasks", count)
    return count


def publish(celery: Celery, name: str, message: Message, properties: dict[str, Any]) -> None:
    """Send a message as it came, to the queue that this release has for the task."""
    queue = celery.amqp.router.route({}, name)["queue"]
    with celery.producer_or_acquire() as producer:
        producer.publish(
            message.body,
            exchange="",
            routing_key=queue.name,
            declare=[queue],
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=message.headers,
            retry=True,
            retry_policy=celery.conf.task_publish_retry_policy,
            **properties,
        )


def drop_old() -> None:
    """Drop the messages that no release has known for KEEP_DAYS."""
    before = timezone.now() - datetime.timedelta(days=KEEP_DAYS)
    for parked in ParkedTask.objects.filter(parked__lt=before):
        logger.error("task %s dropped: parked for %d days", parked.task, KEEP_DAYS)
        parked.delete()
