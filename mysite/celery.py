"""The Celery application: how background jobs are sent and worked on.

`celery -A mysite inspect active` and the like find it here.
https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html
"""

import os
from pathlib import Path
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
    for name, folder in settings.CELERY["broker_transport_options"].items():
        if "folder" in name:
            Path(folder).mkdir(parents=True, exist_ok=True)


@signals.setup_logging.connect
def keep_django_s_logging(**kwargs: Any) -> None:
    """Log as the servers do: without a receiver Celery would set up its own."""
