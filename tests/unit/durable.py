"""A DurableTask for tests, its sent messages, and a worker that receives them."""

import datetime
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from celery import shared_task
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from ops.models import Task
from ops.tasks import DurableTask, rows

RUNS: list[Any] = []
FAILURES: list[tuple[Any, ...]] = []
Message = tuple[str, list[Any], dict[str, Any], str]


class Noted(DurableTask):
    """A task that records its failures."""

    abstract = True
    max_attempts = 3
    final_exceptions = (KeyError,)

    def on_failed(self, error: Exception, /, *args: Any, **kwargs: Any) -> None:
        """Record the failure."""
        FAILURES.append((str(error), args, kwargs))


@shared_task(base=Noted, name="tests.noted", bind=True)
def noted(task: DurableTask, what: str, *, error: str = "") -> None:
    RUNS.append(what)
    if error == "retry":
        raise task.retry(countdown=90)
    if error == "retry at":
        raise task.retry(eta=timezone.now() + datetime.timedelta(seconds=90))
    if error:
        raise {"final": KeyError, "other": OSError}[error](what)


@shared_task(name="tests.plainly_noted")
def plain(what: str) -> None:
    RUNS.append(what)


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Record sent messages: task name, arguments, and id of the row."""
    messages: list[Message] = []

    def send(name: str, args: Any, kwargs: Any, headers: dict[str, str]) -> None:
        messages.append((name, args, kwargs, headers[rows.HEADER]))

    monkeypatch.setattr(rows.app, "send_task", send)
    monkeypatch.setattr(rows.app, "queue_length", lambda: 0)
    RUNS.clear()
    FAILURES.clear()
    return messages


@pytest.fixture
def commit(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> Callable[..., Task]:
    """Return a function that calls the task, commits, and returns its row."""

    def call(*args: Any, countdown: float = 0, **kwargs: Any) -> Task:
        with django_capture_on_commit_callbacks(execute=True):
            noted.apply_async(args, kwargs, countdown=countdown)
        return Task.objects.latest("created")

    return call


def receive(row: Task, message: str = "") -> Task:
    """Process a message of the row, as a worker does."""
    args, kwargs = rows.loads(row.args), rows.loads(row.kwargs)
    headers = {rows.HEADER: str(row.pk)}
    noted.apply(args, kwargs, task_id=message or str(uuid.uuid4()), headers=headers)
    row.refresh_from_db()
    return row


def later(row: Task, seconds: float) -> None:
    """Move the times of a row back."""
    for name in ("due", "sent", "lease"):
        if value := getattr(row, name):
            setattr(row, name, value - datetime.timedelta(seconds=seconds))
    row.save()


def running(row: Task, message: str = "first") -> Task:
    """Claim the row for a worker that is then lost."""
    claimed = rows.claim(str(row.pk), message, datetime.timedelta(seconds=30))
    assert claimed is not None
    return claimed
