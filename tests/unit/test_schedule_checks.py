"""`./manage.py check` refuses an entry of CELERY_BEAT_SCHEDULE that no worker could send."""

import os
import subprocess
from datetime import timedelta
from typing import Any

import pytest
from celery import shared_task
from celery.schedules import BaseSchedule, crontab
from django.core.checks import run_checks

from ops.celery import app
from ops.tasks import DurableTask, checks
from tests.tree import ROOT
from tests.unit.forks import run_forked


@shared_task(name="tests.count_orders")
def count_orders(shop: int, *, since: int = 0) -> None:
    """Do nothing."""


@shared_task(name="tests.durable_orders", base=DurableTask, bind=True)
def durable_orders(self: Any, shop: int) -> None:
    """Do nothing, durably."""


class Sunset(BaseSchedule):
    """A schedule of another package's."""

    def is_due(self, last_run_at: Any) -> tuple[bool, float]:
        """Never."""
        return False, 60


def messages(monkeypatch: pytest.MonkeyPatch, schedule: Any) -> list[str]:
    """Return the messages of the check of a schedule."""
    monkeypatch.setattr(app.conf, "beat_schedule", schedule)
    found = [one for one in run_checks() if one.id == "ops.E002"]
    assert all(one.is_serious() and one.hint for one in found)
    return [f"{one.msg} {one.hint}" for one in found]


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        ({"task": "tests.count_order", "schedule": 60}, ("no task", "'tests.count_orders'?")),
        ({"task": "count_orders", "schedule": 60}, ("no task", "'tests.count_orders'?")),
        ({"task": "shop.tasks.x", "schedule": 60}, ("no task 'shop.tasks.x'", "There are: ")),
        ({"schedule": 60}, ("no task None",)),
        ({"task": "tests.count_orders", "args": (1,)}, ("schedule is None", "crontab(...)")),
        ({"task": "tests.count_orders", "schedule": "60"}, ("schedule is '60'",)),
        ({"task": "tests.count_orders", "schedule": 60, "args": 1}, ("args is 1", "(1,)")),
        ({"task": "tests.count_orders", "schedule": 60}, ("other arguments", "'shop'")),
        ({"task": "tests.durable_orders", "schedule": 60}, ("other arguments", "'shop'")),
        ({"task": "tests.count_orders", "schedule": 60, "arg": (1,)}, ("keyword argument 'arg'",)),
        (60, ("is not a dict", "For example: ")),
    ],
)
def test_wrong_entry_is_an_error_that_names_it_and_the_next_step(
    monkeypatch: pytest.MonkeyPatch, entry: Any, parts: tuple[str, ...]
) -> None:
    (message,) = messages(monkeypatch, {"orders, hourly": entry})

    assert message.startswith("CELERY_BEAT_SCHEDULE: entry 'orders, hourly': ")
    assert all(part in message for part in parts), message


def test_function_that_is_no_task_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"task": "tests.unit.test_schedule_checks.messages", "schedule": 60}
    monkeypatch.setattr(app.conf, "beat_schedule", {"orders": entry})

    (found,) = [one for one in run_checks() if one.id in ("ops.E002", "ops.W002")]

    assert found.id == "ops.W002" and not found.is_serious()
    assert "no worker runs it" in found.msg and "@shared_task" in str(found.hint)


def test_schedule_of_another_type_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    (message,) = messages(monkeypatch, [("orders", {"task": "tests.count_orders"})])

    assert "is not a dict" in message


@pytest.mark.parametrize("schedule", [60, 0.5, timedelta(hours=1), crontab(hour=7), Sunset()])
@pytest.mark.parametrize("task", ["tests.count_orders", "tests.durable_orders"])
def test_right_entry_passes(monkeypatch: pytest.MonkeyPatch, schedule: Any, task: str) -> None:
    entry = {"task": task, "schedule": schedule, "args": [1], "options": {"countdown": 5}}

    assert messages(monkeypatch, {"orders": entry}) == []


def test_task_without_checked_arguments_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.tasks["tests.count_orders"], "typing", False)

    assert messages(monkeypatch, {"x": {"task": "tests.count_orders", "schedule": 60}}) == []


def run_check(lines: str) -> subprocess.CompletedProcess[str]:
    """Run the check in a process that has loaded no module of tasks."""
    code = (
        "from django.conf import settings\n"
        f"{lines}\n"
        "import django\ndjango.setup()\n"
        "import sys\nassert 'ops.mail' in sys.modules\n"
        "from django.core.management import call_command\ncall_command('check')\n"
    )
    return run_forked(
        *("-c", code),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "mysite.settings.test"},
    )


def test_tasks_of_imports_and_of_discovered_modules_are_loaded_first() -> None:
    """`tests.unit.test_schedule` stands for a module that only CELERY_IMPORTS names."""
    done = run_check(
        "settings.CELERY_IMPORTS = ['tests.unit.test_schedule']\n"
        "settings.CELERY_BEAT_SCHEDULE = {\n"
        "    'one': {'task': 'tests.plain', 'schedule': 60},\n"
        "    'two': {'task': 'celery.backend_cleanup', 'schedule': 60},\n"
        "}"
    )
    assert done.returncode == 0, done.stderr

    done = run_check(
        "settings.CELERY_BEAT_SCHEDULE = {'one': {'task': 'tests.plain', 'schedule': 60}}"
    )
    assert done.returncode == 1 and "there is no task 'tests.plain'" in done.stderr


def test_no_module_of_tasks_is_loaded_without_a_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(app.loader, "import_default_modules", refuse)

    assert messages(monkeypatch, {}) == []


def test_celery_does_not_run_the_checks_within_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    monkeypatch.setattr(
        app.loader,
        "import_default_modules",
        lambda: seen.append(os.environ.get(checks.SKIP_CHECKS)),
    )
    messages(monkeypatch, {"x": {"task": "no.such", "schedule": 60}})

    assert seen == ["1"]
    assert not os.environ.get(checks.SKIP_CHECKS)
