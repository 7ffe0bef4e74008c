"""The Celery application: how background jobs are sent and worked on.

`celery -A mysite inspect active` and the like find it here.
https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html
"""

import os
from typing import Any

from celery import Celery, signals
from django.conf import settings
from django_structlog.celery.steps import DjangoStructLogInitStep

from mysite import environment
from mysite.settings.backing import FILES

environment.read_dotenv()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.local")

app = Celery("mysite")
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
