"""What a job's log lines carry: its request's id, and nothing else of the request."""

import logging
import os
import subprocess
import sys
from typing import Any

import pytest
import structlog
from celery.app.log import Logging
from celery.signals import before_task_publish

from mysite.celery import app
from tests.orders import ship
from tests.team_values import required_values
from tests.tree import ROOT

PASSED = "__django_structlog__"


@pytest.fixture(autouse=True)
def clean() -> None:
    """No other test's context."""
    structlog.contextvars.clear_contextvars()


def sent_with(**context: Any) -> dict[str, Any]:
    """Send a job's message with this context, and return what goes with it."""
    found: dict[str, Any] = {}

    def look(headers: dict[str, Any], **kwargs: Any) -> None:
        found.update(headers)

    before_task_publish.connect(look)
    try:
        with structlog.contextvars.bound_contextvars(**context):
            app.send_task(ship.name)
    finally:
        before_task_publish.disconnect(look)
    passed: dict[str, Any] = found[PASSED]
    return passed


def test_the_request_s_id_goes_with_the_message_alone() -> None:
    passed = sent_with(request_id="id", client="192.0.2.7", user_id=3)

    assert passed == {"request_id": "id"}


def test_a_job_that_sends_a_job_names_itself() -> None:
    assert sent_with(request_id="id", task_id="job") == {
        "request_id": "id",
        "parent_task_id": "job",
    }


def test_nothing_stays_for_the_next_job() -> None:
    structlog.contextvars.bind_contextvars(request_id="of-another")

    ship.apply()

    assert structlog.contextvars.get_contextvars() == {}


def test_celery_leaves_django_s_logging_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own set-up would change the root logger, and its lines would not be JSON."""
    monkeypatch.setattr(Logging, "_setup", False)
    root = logging.getLogger()
    before = (list(root.handlers), root.level)

    app.log.setup_logging_subsystem(loglevel="DEBUG")

    assert (root.handlers, root.level) == before


# As in a worker: it logs as Django is set up to, and django-structlog listens.
ONE_JOB = """
import django
django.setup()
from mysite.celery import app

def one():
    pass

steps = [step(None) for step in app.steps["worker"] if "structlog" in step.__module__]
app.task(one).apply()
"""


def test_a_job_s_end_is_one_line() -> None:
    """Celery's own says the same without the request's id."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_JOB],
        cwd=ROOT,
        env={
            **{"PATH": os.environ["PATH"], "DJANGO_READ_DOTENV": "false"},
            **{"DJANGO_SETTINGS_MODULE": "mysite.settings.local", **required_values()},
        },
        capture_output=True,
        text=True,
        check=True,
    )

    (line,) = [line for line in done.stderr.splitlines() if "succeeded" in line]
    assert "task_succeeded" in line
