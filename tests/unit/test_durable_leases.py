"""A DurableTask whose message or worker is lost runs again, once."""

import datetime
from typing import Any

import pytest

from ops.models import Task
from ops.tasks import rows
from tests.unit.durable import FAILURES, RUNS, Message, later, noted, receive, running

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("messages")]

Status = Task.Status


def test_lost_task_message_is_sent_again(messages: list[Message], commit: Any) -> None:
    row = commit("a")
    assert rows.recover() == 0
    later(row, rows.LOST_SECONDS + 1)
    assert rows.recover() == 1
    assert len(messages) == 2


@pytest.fixture
def long_queue(messages: list[Message], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other messages wait."""
    monkeypatch.setattr(rows.app, "queue_length", lambda: 1)


@pytest.mark.usefixtures("long_queue")
@pytest.mark.parametrize("ended", [False, True])
def test_task_message_in_a_long_queue_is_lost_once_a_later_one_was_received(
    commit: Any, *, ended: bool
) -> None:
    later(commit("a"), rows.QUEUED_LOST_SECONDS + 1)
    later_sent = commit("b")
    assert rows.recover() == 0

    if ended:
        receive(later_sent)
    else:
        running(later_sent)
    assert rows.recover() == 1


@pytest.mark.usefixtures("long_queue")
def test_task_message_in_a_long_queue_is_not_lost_at_once(commit: Any) -> None:
    later(commit("a"), rows.QUEUED_LOST_SECONDS - 1)
    running(commit("b"))
    assert rows.recover() == 0


@pytest.mark.usefixtures("long_queue")
def test_backlog_of_hours_is_not_sent_again(messages: list[Message], commit: Any) -> None:
    for what in "abc":
        later(commit(what), 3600)
    later(running(commit("first")), 3700)

    assert rows.recover() == 0
    assert len(messages) == 4


@pytest.mark.usefixtures("long_queue")
def test_message_of_a_task_without_a_row_says_nothing_of_the_backlog(commit: Any) -> None:
    later(commit("a"), 3600)
    noted.apply(["of an earlier release"], task_id="old", headers={})

    assert rows.recover() == 0


@pytest.mark.usefixtures("long_queue")
def test_task_message_counts_as_lost_at_last_also_after_an_older_one_was_received(
    commit: Any,
) -> None:
    later(receive(commit("a")), rows.QUEUED_LOST_AT_LAST.total_seconds() + 7200)
    later(commit("b"), rows.QUEUED_LOST_AT_LAST.total_seconds() + 3600)
    assert rows.recover() == 1


@pytest.mark.usefixtures("long_queue")
def test_task_message_counts_as_lost_at_last(commit: Any) -> None:
    row = commit("a")
    later(row, rows.QUEUED_LOST_AT_LAST.total_seconds() - 60)
    assert rows.recover() == 0
    later(row, 120)
    assert rows.recover() == 1
    assert rows.recover() == 0


def test_running_task_is_requeued_only_after_its_lease(commit: Any) -> None:
    row = running(commit("a"))
    assert rows.claim(str(row.pk), "second", datetime.timedelta(seconds=30)) is None
    rows.recover()
    row.refresh_from_db()
    assert row.status == Status.RUNNING

    later(row, 31)
    assert rows.recover() == 0
    row.refresh_from_db()
    assert (row.status, row.sent, row.losses) == (Status.WAITING, None, 1)


def test_redelivered_task_message_counts_a_lost_worker(commit: Any) -> None:
    row = receive(running(commit("a")), "first")

    assert (row.status, row.losses, RUNS) == (Status.DONE, 1, ["a"])


def test_task_message_received_after_the_lease_runs_the_task(commit: Any) -> None:
    row = running(commit("a"))
    later(row, 31)

    row = receive(row, "second")
    assert (row.status, row.losses, RUNS) == (Status.DONE, 1, ["a"])


def test_task_that_loses_two_workers_fails(commit: Any) -> None:
    row = commit("a")
    running(row, "first")
    running(row, "first")
    assert rows.claim(str(row.pk), "first", datetime.timedelta()) is None
    # The last attempt may still run until its lease is over.
    assert Task.objects.get(pk=row.pk).status == Status.RUNNING
    later(Task.objects.get(pk=row.pk), 31)
    rows.recover()

    row.refresh_from_db()
    assert (row.status, row.error) == (
        Status.FAILED,
        "WorkerLostError: Its worker was lost 2 times.",
    )
    assert [args for _, args, _ in FAILURES] == [("a",)]
    assert RUNS == []


def test_result_of_a_lost_worker_is_ignored(commit: Any) -> None:
    first = running(commit("a"))
    later(first, 31)
    rows.recover()
    second = running(first, "second")

    assert not rows.finish(first)
    rows.give_back(first, datetime.timedelta())
    assert not rows.fail(first, OSError("late"))
    second.refresh_from_db()
    assert second.status == Status.RUNNING
    assert rows.finish(second)


def test_long_error_of_a_task_fits_into_its_column(commit: Any) -> None:
    """MySQL and PostgreSQL would refuse it, and the task would run for ever."""
    row = running(commit("a"))

    assert rows.fail(row, OSError("x" * 999))

    row.refresh_from_db()
    assert row.status == Status.FAILED
    assert len(row.error) == Task._meta.get_field("error").max_length == 200
