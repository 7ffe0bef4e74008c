"""`./manage.py check` of CELERY_BEAT_SCHEDULE: each entry names a task that a worker knows.

Without it a mistake shows when the entry is due, and in the worker's log alone.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from celery import Task
from celery.beat import ScheduleEntry
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

from ops.celery import app
from ops.environment import places

# https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html
SKIP_CHECKS = "CELERY_SKIP_CHECKS"
# How many tasks a message lists.
_SHOWN = 5
_EXAMPLE = (
    'For example: {"send reminders": {"task": "shop.tasks.send_reminders", "schedule": 3600}}.'
)


@register("celery")
def check_schedule(**_: Any) -> list[CheckMessage]:
    """Refuse entries that a worker could not send."""
    schedule = app.conf.beat_schedule
    if not isinstance(schedule, dict):
        return [Error("CELERY_BEAT_SCHEDULE is not a dict.", hint=_EXAMPLE, id="ops.E002")]
    return [
        message(
            f"{places.of_setting('CELERY_BEAT_SCHEDULE', name)}: entry {name!r}: {problem}.",
            hint=hint,
            id="ops.W002" if message is Warning else "ops.E002",
        )
        for name, entry in schedule.items()
        for message, problem, hint in _faults(name, entry)
    ]


def _faults(name: str, fields: Any) -> Iterator[tuple[type[CheckMessage], str, str]]:
    """Yield what is wrong with an entry, how bad it is, and the next step."""
    if not isinstance(fields, Mapping):
        yield Error, "it is not a dict", _EXAMPLE
        return
    when = fields.get("schedule")
    if not (isinstance(when, int | float | timedelta) or hasattr(when, "is_due")):
        hint = "Use a number of seconds, a timedelta or crontab(...)."
        yield Error, f"its schedule is {when!r}", hint
        return
    try:
        entry = ScheduleEntry(name=name, app=app, **fields)
    except TypeError as error:
        yield Error, str(error), _EXAMPLE
        return
    if not isinstance(entry.args, tuple | list):
        yield Error, f"its args is {entry.args!r}, which is no tuple", "Mind the comma: (1,)."
    elif (task := _task(entry.task)) is None and _is_function(entry.task):
        # An app may leave its tasks to Celery only where a setting says so.
        hint = "Give it @shared_task, or remove the entry."
        yield Warning, f"{entry.task} is no task, so no worker runs it", hint
    elif task is None:
        yield Error, f"there is no task {entry.task!r}", _step(str(entry.task))
    elif problem := _arguments(task, entry):
        hint = "Correct args and kwargs."
        yield Error, f"the task {entry.task} has other arguments: {problem}", hint


def _task(name: Any) -> Task | None:
    """Return a task by its name; the modules of tasks are loaded only where that is needed."""
    if name not in app.tasks:
        # Celery would run all checks before, this one among them.
        before = os.environ.get(SKIP_CHECKS, "")
        os.environ[SKIP_CHECKS] = "1"
        try:
            # As a worker does: tasks.py of each app, CELERY_IMPORTS and CELERY_INCLUDE. The first
            # raises the error of a tasks.py; the signal of the second would also log its traceback.
            app.autodiscover_tasks(force=True)
            app.loader.import_default_modules()
        finally:
            os.environ[SKIP_CHECKS] = before
    return app.tasks.get(name)


def _is_function(name: Any) -> bool:
    try:
        return callable(import_string(name))
    except (ImportError, AttributeError):
        return False


def _step(name: str) -> str:
    own = sorted(task for task in app.tasks if not task.startswith("celery."))
    # Or a name without its module.
    close = difflib.get_close_matches(name, own, n=3, cutoff=0.8) or [
        task for task in own if task.rpartition(".")[2] == name.rpartition(".")[2]
    ]
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    some = ", ".join(map(repr, own[:_SHOWN])) or "none yet"
    return (
        "Name a function that has @shared_task, in tasks.py of an app in INSTALLED_APPS. "
        f"There are: {some}{', ...' if len(own) > _SHOWN else ''}."
    )


def _arguments(task: Task, entry: ScheduleEntry) -> str:
    """Return why a task would not be sent with an entry's arguments; as Task.apply_async checks."""
    if not task.typing:
        return ""
    try:
        task.__header__(*entry.args, **entry.kwargs)
    except TypeError as error:
        return str(error)
    return ""
