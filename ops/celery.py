"""The project's Celery application: how tasks are sent and run.

https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import kombu
import kombu.exceptions
import redis
from celery import Celery, current_task, signals
from django.conf import settings
from django.utils.module_loading import import_string
from django_structlog.celery.steps import DjangoStructLogInitStep

from ops.breaker import BROKER, REDIS, AwayError, Breaker
from ops.environment import KAFKA_SCHEME  # remove_kafka
from ops.settings.backing import FILES, broker_defaults

# What is wrong with a task itself.
TASK_ERRORS = (kombu.exceptions.SerializationError, TypeError, ValueError)


class RefusedError(kombu.exceptions.OperationalError):
    """Redis refuses a message, as when it is full. It answers, so other commands may succeed."""


def breaker_of(url: str) -> Breaker:
    """Return the breaker of a message broker; Redis is one server for all."""
    return REDIS if url.startswith("redis") else BROKER


class Application(Celery):
    """Lets one process at a time try a broker that is down."""

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Guard a block that sends requests to the broker.

        Raises:
            kombu.exceptions.OperationalError: it is down; no request was made.
            RefusedError: Redis answered with an error, such as a full memory.
        """
        url = settings.CELERY_BROKER_URL
        try:
            with breaker_of(url).call(Exception, but=(*TASK_ERRORS, RefusedError)):
                try:
                    yield
                except (redis.ResponseError, kombu.exceptions.OperationalError) as error:
                    if isinstance(error.__cause__ or error, redis.ResponseError):
                        raise RefusedError(str(error)) from error
                    raise
        except AwayError as error:
            raise kombu.exceptions.OperationalError(str(error)) from None

    def send_task(self, *args: Any, **options: Any) -> Any:
        """Send a task, quickly or not at all; a task that sends another has time.

        Raises:
            kombu.exceptions.OperationalError: the broker is down.
            RefusedError: Redis answered with an error, such as a full memory.
        """
        if current_task:
            return super().send_task(*args, **options)
        with self.asking():
            return super().send_task(*args, **options)

    def queue_length(self) -> int:
        """Return how many messages wait at the broker, in all queues that a worker reads.

        Raises:
            kombu.exceptions.OperationalError: the broker is down; OSError may say so too.
        """
        with self.asking(), self.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=3)
            return sum(messages_in(connection, queue) for queue in self.amqp.queues)


def messages_in(connection: kombu.Connection, queue: str) -> int:
    """Return how many messages wait in a queue; none if there is no such queue yet."""
    with connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0


def configuration() -> dict[str, Any]:
    """Return the settings CELERY_... by Celery's own names.

    Celery's `namespace` would do that too, and warn of names that were others' without a namespace.
    """
    names = [name for name in dir(settings) if name.startswith("CELERY_")]
    return {name.removeprefix("CELERY_").lower(): getattr(settings, name) for name in names}


def application() -> Application:
    """Return the application: a project's own (CELERY_APP), else a new one."""
    if not (name := getattr(settings, "CELERY_APP", "")):
        new = Application(settings.WSGI_APPLICATION.partition(".")[0])
        new.config_from_object(configuration())
        return new
    own = import_string(name)
    # Its tasks belong to it, so the broker's time limits apply to it.
    own.__class__ = Application
    own.conf.update(configuration())
    own.set_default()
    own.set_current()
    return cast(Application, own)


app = application()
app.add_defaults(broker_defaults(settings.CELERY_BROKER_URL))
app.autodiscover_tasks()
app.steps["worker"].add(DjangoStructLogInitStep)

if settings.CELERY_BROKER_URL == FILES:
    from ops.brokers import files

    files.prepare(settings.CELERY_BROKER_TRANSPORT_OPTIONS)
# remove_rabbitmq: begin
if settings.CELERY_BROKER_URL.startswith("amqp"):
    from ops.brokers import rabbitmq

    rabbitmq.prepare()
# remove_rabbitmq: end
# remove_kafka: begin
if settings.CELERY_BROKER_URL.startswith(KAFKA_SCHEME):
    from ops.brokers import kafka

    kafka.prepare()
# remove_kafka: end


@signals.setup_logging.connect
def keep_django_logging(**kwargs: Any) -> None:
    """Log as the servers do: without a receiver Celery would set up its own."""
