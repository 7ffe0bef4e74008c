"""The Celery application: how background jobs are sent and worked on.

`celery -A mysite inspect active` and the like find it here.
https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kombu.exceptions
from celery import Celery, current_task, signals
from django.conf import settings
from django_structlog.celery.steps import DjangoStructLogInitStep

from mysite import environment
from mysite.breaker import BROKER, REDIS, AwayError, Breaker
from mysite.settings.backing import FILES

environment.read_dotenv()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.local")

# What is wrong with a task itself. Every other error, a refusal too, opens the breaker.
OF_THE_TASK = (kombu.exceptions.SerializationError, TypeError, ValueError)


def breaker_of(url: str) -> Breaker:
    """Return the breaker of a message broker; Redis is one server for all."""
    return REDIS if url.startswith("redis") else BROKER


class Application(Celery):
    """Lets one process at a time ask a broker that is down."""

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Guard a block that speaks to the broker.

        Raises:
            kombu.exceptions.OperationalError: it is down, and was not asked.
        """
        try:
            with breaker_of(settings.CELERY["broker_url"]).call(Exception, but=OF_THE_TASK):
                yield
        except AwayError as error:
            raise kombu.exceptions.OperationalError(str(error)) from None

    def send_task(self, *args: Any, **options: Any) -> Any:
        """Send a task, quickly or not at all; a task that sends another has time."""
        if current_task:
            return super().send_task(*args, **options)
        with self.asking():
            return super().send_task(*args, **options)


app = Application("mysite")
app.config_from_object(settings.CELERY)
app.autodiscover_tasks()
app.steps["worker"].add(DjangoStructLogInitStep)

if settings.CELERY["broker_url"] == FILES:
    from mysite import message_files

    message_files.prepare(settings.CELERY["broker_transport_options"])
elif settings.CELERY["broker_url"].startswith("amqp"):
    from mysite import rabbitmq_messages

    rabbitmq_messages.prepare()
elif settings.CELERY["broker_url"].startswith(environment.KAFKA_SCHEME):
    from mysite import kafka_messages

    kafka_messages.prepare()


@signals.setup_logging.connect
def keep_django_s_logging(**kwargs: Any) -> None:
    """Log as the servers do: without a receiver Celery would set up its own."""
