"""What the log line of a job says: the id of the request that caused it, the job's id and name.

https://django-structlog.readthedocs.io/en/latest/celery.html
"""

from typing import Any

import structlog
from celery import Task
from celery.signals import task_postrun
from django.dispatch import receiver
from django_structlog.celery import signals

# What goes with a job's message; the client's address and the user stay behind.
PASSED_ON = {"request_id", "parent_task_id"}


@receiver(signals.modify_context_before_task_publish)
def pass_only_request_id(context: dict[str, Any], **kwargs: Any) -> None:
    """Leave the rest of the request's line out of the message."""
    for name in set(context) - PASSED_ON:
        del context[name]


@receiver(signals.bind_extra_task_metadata)
def add_name(task: Task, **kwargs: Any) -> None:
    """Add the job's name to every line of it."""
    structlog.contextvars.bind_contextvars(task=task.name)


@task_postrun.connect
def forget(**kwargs: Any) -> None:
    """Keep nothing for what this process does next."""
    structlog.contextvars.clear_contextvars()
