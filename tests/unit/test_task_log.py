"""The log lines of a task carry the request id, and nothing else of the request."""

import logging
import os
from typing import Any

import pytest
import structlog
from celery.app.log import Logging
from celery.signals import before_task_publish

from mysite.celery import app
from tests.orders import ship
from tests.team_values import required_values
from tests.tree import ROOT
from tests.unit.forks import run_forked

PASSED = "__django_structlog__"


@pytest.fixture(autouse=True)
def clean() -> None:
    """Clear the context of other tests."""
    structlog.contextvars.clear_contextvars()


def sent_with(**context: Any) -> dict[str, Any]:
    """Send a task message in this context, and return the context that it carries."""
    result: dict[str, Any] = {}

    def record(headers: dict[str, Any], **kwargs: Any) -> None:
        result.update(headers)

    before_task_publish.connect(record)
    try:
        with structlog.contextvars.bound_contextvars(**context):
            app.send_task(ship.name)
    finally:
        before_task_publish.disconnect(record)
    passed: dict[str, Any] = result[PASSED]
    return passed


def test_task_message_carries_only_the_request_id() -> None:
    passed = sent_with(request_id="id", client="192.0.2.7", user_id=3)

    assert passed == {"request_id": "id"}


def test_task_message_sent_by_a_task_carries_the_parent_task_id() -> None:
    assert sent_with(request_id="id", task_id="job") == {
        "request_id": "id",
        "parent_task_id": "job",
    }


def test_log_context_is_cleared_after_a_task() -> None:
    structlog.contextvars.bind_contextvars(request_id="of-another")

    ship.apply()

    assert structlog.contextvars.get_contextvars() == {}


def test_celery_keeps_the_django_logging_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's setup would change the root logger, and log lines would not be JSON."""
    monkeypatch.setattr(Logging, "_setup", False)
    root = logging.getLogger()
    before = (list(root.handlers), root.level)

    app.log.setup_logging_subsystem(loglevel="DEBUG")

    assert (root.handlers, root.level) == before


# As in a worker, with Django's logging and the receivers of django-structlog.
RUN_ONE_TASK = """
import django
django.setup()
from mysite.celery import app

def one():
    pass

steps = [step(None) for step in app.steps["worker"] if "structlog" in step.__module__]
app.task(one).apply()
"""


def test_end_of_a_task_is_one_log_line() -> None:
    """Celery's own line, without the request id, is off."""
    done = run_forked(
        *("-c", RUN_ONE_TASK),
        cwd=ROOT,
        env={
            **{"PATH": os.environ["PATH"], "DJANGO_READ_DOTENV": "false"},
            **{"DJANGO_SETTINGS_MODULE": "mysite.settings.local", **required_values()},
        },
    )
    assert done.returncode == 0, done.stderr

    (line,) = [line for line in done.stderr.splitlines() if "succeeded" in line]
    assert "task_succeeded" in line
