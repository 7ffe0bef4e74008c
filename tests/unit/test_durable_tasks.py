"""A DurableTask runs to its end once, whatever is sent twice, lost or killed."""

import datetime
import uuid
from typing import Any

import pytest
import structlog
from amqp.exceptions import AccessRefused, PreconditionFailed
from celery import Celery
from celery.exceptions import Retry
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from mysite.celery import app
from ops.breaker import BROKER
from ops.database import rounds
from ops.models import Task
from ops.tasks import rows
from tests.unit.durable import FAILURES, RUNS, Message, later, noted, plain, receive, running

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("messages")]

Status = Task.Status


def test_task_message_is_sent_after_commit_with_its_row(
    messages: list[Message], commit: Any
) -> None:
    row = commit("a", error="")

    assert messages == [("tests.noted", ["a"], {"error": ""}, str(row.pk))]
    assert (row.status, row.attempts) == (Status.WAITING, 0)


@pytest.mark.django_db(transaction=True)
def test_task_of_a_rolled_back_transaction_is_not_sent(messages: list[Message]) -> None:
    with pytest.raises(OSError), transaction.atomic():
        noted.delay("a")
        raise OSError
    assert (Task.objects.count(), messages) == (0, [])


def test_task_message_received_twice_runs_once(commit: Any) -> None:
    row = receive(commit("a"))
    assert (row.status, row.attempts) == (Status.DONE, 1)
    assert receive(row).attempts == 1
    assert RUNS == ["a"]


def test_task_message_is_sent_when_the_broker_is_up_again(
    monkeypatch: pytest.MonkeyPatch, commit: Any
) -> None:
    send = rows.app.send_task

    def away(*args: Any, **kwargs: Any) -> None:
        raise OSError("away")

    monkeypatch.setattr(rows.app, "send_task", away)
    row = commit("a")
    assert row.sent is None
    assert rows.send_due() == 0

    monkeypatch.setattr(rows.app, "send_task", send)
    assert rows.send_due() == 1
    assert rows.send_due() == 0
    assert receive(row).status == Status.DONE


def test_two_workers_send_each_due_task_message_once(
    monkeypatch: pytest.MonkeyPatch, commit: Any
) -> None:
    calls = []

    def send(name: str, args: list[str], *_: object, **__: object) -> None:
        calls.append(args)
        # The other worker sends the same rows at the same time.
        rows.send_due()

    for name in ("a", "b"):
        commit(name)
    Task.objects.update(sent=None)
    monkeypatch.setattr(rows.app, "send_task", send)
    rows.send_due()

    assert calls == [["a"], ["b"]]


def test_worker_skips_a_task_message_that_another_worker_has_sent(
    messages: list[Message], monkeypatch: pytest.MonkeyPatch, commit: Any
) -> None:
    _, second, _ = due = [commit(name, countdown=1) for name in "abc"]
    for seconds, row in enumerate(due, start=-3):
        moment = timezone.now() + datetime.timedelta(seconds=seconds)
        Task.objects.filter(pk=row.pk).update(due=moment)
    send = rows.app.send_task

    def send_one_more(*args: Any, **kwargs: Any) -> None:
        Task.objects.filter(pk=second.pk).update(sent=timezone.now())
        send(*args, **kwargs)

    monkeypatch.setattr(rows.app, "send_task", send_one_more)
    rows.send_due()

    assert [args for _, args, _, _ in messages] == [["a"], ["c"]]


def test_delayed_task_message_has_the_request_id(
    monkeypatch: pytest.MonkeyPatch, commit: Any
) -> None:
    request_ids = []

    def send(*_: object, **__: object) -> None:
        request_ids.append(structlog.contextvars.get_contextvars().get("request_id"))

    monkeypatch.setattr(rows.app, "send_task", send)
    with structlog.contextvars.bound_contextvars(request_id="of the request"):
        row = commit("a", countdown=1)
    later(row, 2)
    rows.send_due()

    assert request_ids == ["of the request"]


def test_task_with_a_long_countdown_waits_in_the_database(
    messages: list[Message], commit: Any
) -> None:
    row = commit("a", countdown=30 * 86400)
    later(row, 30 * 86400 - 10)
    assert (rows.send_due(), messages) == (0, [])
    # A message that arrives too early does not run the task.
    assert receive(row).status == Status.WAITING

    later(row, 10)
    assert rows.send_due() == 1
    assert receive(row).status == Status.DONE


def test_failed_task_is_retried_after_a_growing_pause(commit: Any) -> None:
    row = commit("a", error="other")
    pauses = []
    for _ in range(2):
        before = timezone.now()
        receive(row)
        assert (row.status, row.sent) == (Status.WAITING, None)
        pauses.append(round((row.due - before).total_seconds()))
        later(row, 10)
    assert pauses == [1, 2]
    assert FAILURES == []

    receive(row)
    assert (row.status, row.error) == (Status.FAILED, "OSError: a")
    assert FAILURES == [("a", ("a",), {"error": "other"})]
    assert receive(row).attempts == 3


def test_task_fails_without_retry_on_a_final_exception(commit: Any) -> None:
    row = receive(commit("a", error="final"))

    assert (row.status, row.attempts, row.error) == (Status.FAILED, 1, "KeyError: 'a'")
    assert [reason for reason, _, _ in FAILURES] == ["'a'"]


@pytest.mark.parametrize("error", ["retry", "retry at"])
def test_task_retry_sets_its_own_pause(commit: Any, error: str) -> None:
    before = timezone.now()
    row = receive(commit("a", error=error))

    assert row.status == Status.WAITING
    assert 89 < (row.due - before).total_seconds() < 100


def test_task_message_without_a_row_creates_one(commit: Any) -> None:
    for _ in range(2):
        noted.apply(["a"], task_id="by name")

    assert RUNS == ["a"]
    assert Task.objects.get().status == Status.DONE


def test_retry_requeues_a_failed_task(commit: Any) -> None:
    row, other = (receive(commit("a", error="final")) for _ in range(2))
    Task.objects.update(losses=rows.MAX_LOSSES - 1)
    assert rows.retry([row.pk, uuid.uuid4()]) == 1
    row.refresh_from_db()
    other.refresh_from_db()
    assert other.status == Status.FAILED

    assert (row.status, row.attempts, row.losses) == (Status.WAITING, 0, 0)
    assert (row.error, row.finished) == ("", None)
    assert rows.send_due() == 1
    assert rows.retry([row.pk]) == 0


@pytest.mark.parametrize(("error", "days"), [("", 7), ("final", 90)])
def test_rows_of_finished_tasks_are_deleted_after_7_days_and_of_failed_after_90(
    monkeypatch: pytest.MonkeyPatch, commit: Any, error: str, days: int
) -> None:
    monkeypatch.setattr(rounds, "ROUND", 2)
    for _ in range(3):
        receive(commit("a", error=error))
    Task.objects.update(finished=timezone.now() - datetime.timedelta(days=days - 1))
    assert rows.forget_old() == 0
    Task.objects.update(finished=timezone.now() - datetime.timedelta(days=days + 1))
    assert rows.forget_old() == 3
    assert not Task.objects.exists()


def test_unsupported_option_of_apply_async_is_refused() -> None:
    with pytest.raises(TypeError, match="no option 'queue'"):
        noted.apply_async(["a"], queue="slow")
    assert Task.objects.count() == 0


def test_durable_task_called_directly_runs_as_a_function() -> None:
    with pytest.raises(Retry):
        noted("a", error="retry")
    noted("b")
    assert (RUNS, Task.objects.count()) == (["a", "b"], 0)


def test_task_time_limits_are_shorter_than_its_lease(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = settings.CELERY_TASK_SOFT_TIME_LIMIT, settings.CELERY_TASK_TIME_LIMIT
    assert soft < hard < noted.lease().total_seconds()

    for limit, lease in ((77, 77), (None, rows.NO_LIMIT_SECONDS)):
        monkeypatch.setattr(noted, "time_limit", limit)
        assert noted.lease().total_seconds() == lease + rows.GRACE_SECONDS


def test_each_failed_attempt_of_a_task_is_logged(
    commit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    row = commit("a", error="other")
    headers = {rows.HEADER: str(row.pk)}
    retry = noted.apply(["a"], {"error": "other"}, task_id="first", headers=headers).result
    noted.apply(["a"], {"error": "other"}, task_id="too early", headers=headers)

    assert (type(retry), type(retry.exc), retry.when) == (Retry, OSError, 1)
    assert "tests.noted: attempt 1 of 3 failed (OSError: a); next try in 1 s" in caplog.text
    assert "tests.noted too early: nothing to do" in caplog.text
    retry = noted.retry(exc=retry.exc, countdown=90, throw=False)
    assert (type(retry.exc), retry.when) == (OSError, 90)

    later(row, 1)
    claimed = running(row, "of a later release")
    claimed.name = "later.task"
    assert rows.fail(claimed, OSError("a"))
    assert "later.task has failed" in caplog.text


@pytest.mark.parametrize(
    "error",
    [AccessRefused("refused"), PreconditionFailed("another kind of queue"), KeyError("no topic")],
    ids=lambda error: type(error).__name__,
)
def test_broker_that_refuses_a_message_opens_its_breaker_and_keeps_the_task(
    monkeypatch: pytest.MonkeyPatch, commit: Any, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.delattr(rows.app, "send_task")
    monkeypatch.setattr(Celery, "send_task", refuse)

    assert commit("a").sent is None
    assert BROKER.is_open


def test_task_unknown_to_this_release_is_left_to_another_release(
    messages: list[Message], commit: Any
) -> None:
    row = commit("a")
    messages.clear()
    row.name = "later.task"
    later(row, 999)

    assert (rows.recover(), rows.send_due(), messages) == (0, 0, [])


@pytest.mark.parametrize("eager", [True, False])
def test_delay_runs_the_task_in_a_test_when_celery_is_eager(
    eager: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain tasks too; Celery reads the Django setting only once (docs/tasks.md)."""
    monkeypatch.undo()  # messages are sent
    settings.CELERY_TASK_ALWAYS_EAGER = True
    if eager:
        monkeypatch.setattr(app.conf, "task_always_eager", True)

    for task in (noted, plain):
        task.delay("x")

    assert len(RUNS) == (2 if eager else 0)
