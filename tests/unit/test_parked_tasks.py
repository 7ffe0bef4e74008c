"""Tasks that a worker does not know are parked until a release knows them."""

import base64
import datetime
import json
import logging
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, current_task
from celery.contrib.testing.worker import start_worker
from django.db import OperationalError
from django.utils import timezone
from kombu.exceptions import ContentDisallowed

from ops.brokers import files as message_files
from ops.models import ParkedTask
from ops.settings.backing import FILES
from ops.tasks.rows import HEADER
from ops.worker import parking
from tests.celery_settings import celery_settings
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


class Release:
    """The Celery application of a release, with its tasks."""

    def __init__(self, broker: dict[str, Any], **tasks: Callable[..., object]) -> None:
        """Register the tasks by name."""
        self.app = Celery("release", set_as_current=False)
        self.app.config_from_object(celery_settings(**broker))
        for name, function in tasks.items():
            self.app.task(function, name=name, shared=False)

    def work(self, until: Callable[[], object]) -> None:
        """Run a worker until a condition is true."""
        with start_worker(self.app, pool="solo", perform_ping_check=False, loglevel="INFO"):
            eventually(until, seconds=30, what="the worker has received all")

    def waiting(self) -> int:
        """Return the number of messages in the broker."""
        with self.app.connection_for_write() as connection, connection.channel() as channel:
            return int(channel.queue_declare(self.app.conf.task_default_queue).message_count)


def parked() -> int:
    """Return the number of parked tasks; 0 while the worker locks the SQLite table."""
    try:
        return ParkedTask.objects.count()
    except OperationalError:
        return 0


def own_queue() -> dict[str, Any]:
    """Return Celery settings for a unique queue."""
    name = f"queue-{uuid.uuid4()}"
    return {"task_default_queue": name, "worker_enable_remote_control": False}


@pytest.fixture
def broker(tmp_path: Path) -> dict[str, Any]:
    """Return Celery settings for a file broker with a unique queue."""
    folder = str(tmp_path)
    options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder}
    message_files.prepare(options)
    quick = {**options, "polling_interval": 0.1}
    return {**own_queue(), "broker_url": FILES, "broker_transport_options": quick}


def test_unregistered_task_is_parked_until_a_release_knows_it(
    broker: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[tuple[str, int, dict[str, str]]] = []

    def later(number: int, **options: str) -> None:
        done.append((current_task.request.id, number, options))

    old, new = Release(broker), Release(broker, later=later)
    sent = [new.app.send_task("later", args=[n], kwargs={"k": "ä"}).id for n in range(3)]

    old.work(until=lambda: parked() == 3)
    assert old.waiting() == 0
    assert "task later is not registered in release" in capsys.readouterr().err

    monkeypatch.setattr(parking, "app", old.app)
    assert parking.send_known() == 0
    monkeypatch.setattr(parking, "app", new.app)
    assert parking.send_known() == 3
    new.work(until=lambda: len(done) == 3)
    assert sorted(done, key=lambda line: line[1]) == [
        (key, number, {"k": "ä"}) for number, key in enumerate(sent)
    ]
    assert not parked()


def test_task_with_unknown_arguments_is_parked_until_a_release_accepts_them(
    broker: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old release would fail it with a TypeError."""
    done: list[object] = []

    def resize(name: str) -> None:
        done.append(name)

    def resize_to(name: str, size: int = 0) -> None:
        done.append((name, size))

    old, new = Release(broker, resize=resize), Release(broker, resize=resize_to)
    old.app.send_task("resize", args=["a"])
    new.app.send_task("resize", args=["b"], kwargs={"size": 9})

    old.work(until=lambda: done and parked())
    assert (done, parked()) == (["a"], 1)
    monkeypatch.setattr(parking, "app", old.app)
    assert parking.send_known() == 0

    monkeypatch.setattr(parking, "app", new.app)
    assert parking.send_known() == 1
    new.work(until=lambda: len(done) == 2)
    assert done == ["a", ("b", 9)]


def test_message_of_an_unknown_serializer_is_parked_until_a_release_reads_it(
    broker: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def resize(name: str) -> None:
        done.append(name)

    other = {"task_serializer": "yaml", "accept_content": ["json", "yaml"]}
    old, new = Release(broker, resize=resize), Release(broker | other, resize=resize)
    new.app.send_task("resize", args=["a"])

    old.work(until=parked)
    monkeypatch.setattr(parking, "app", old.app)
    assert parking.send_known() == 0
    monkeypatch.setattr(parking, "app", new.app)
    assert parking.send_known() == 1
    new.work(until=lambda: done)
    assert done == ["a"]


def test_broker_keeps_an_unknown_task_while_the_database_is_down(
    broker: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = parking.keep
    failed: list[object] = []

    def down(*arguments: Any) -> None:
        if len(failed) < 2:
            failed.append(arguments)
            raise OperationalError("server has gone away")
        keep(*arguments)

    monkeypatch.setattr(parking, "keep", down)
    monkeypatch.setattr(parking, "PAUSE_SECONDS", 0.1)
    old = Release(broker)
    old.app.send_task("later")

    old.work(until=parked)

    assert (len(failed), parked(), old.waiting()) == (2, 1, 0)
    errors = capsys.readouterr().err
    assert errors.count("cannot be parked (OperationalError: server has gone away)") == 2
    assert errors.count("parked until a worker knows it") == 1
    assert "; next try in 0.1 s" in errors


def test_parked_task_stays_parked_while_the_broker_is_down(
    broker: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = Release(broker)
    release.app.send_task("later", args=["x"])
    release.work(until=parked)

    def later(name: str) -> None:
        pass

    monkeypatch.setattr(parking, "app", Release(broker, later=later).app)

    def down(*_: Any) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as patch:
        patch.setattr(parking, "publish", down)
        with pytest.raises(ConnectionRefusedError):
            parking.send_known()

    assert parked() == 1
    assert parking.send_known() == 1


def test_unknown_durable_task_is_not_parked(broker: dict[str, Any]) -> None:
    old = Release(broker)
    old.app.send_task("durable", headers={HEADER: str(uuid.uuid4())})
    old.app.send_task("later")

    old.work(until=parked)

    assert [row.task for row in ParkedTask.objects.all()] == ["later"]
    assert old.waiting() == 0


def test_parked_task_is_sent_once_when_two_workers_send_at_once(
    broker: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def later() -> None:
        pass

    old, new = Release(broker), Release(broker, later=later)
    old.app.send_task("later")
    old.work(until=parked)

    def other_worker_sends(*_: object) -> str:
        ParkedTask.objects.all().delete()
        return ""

    monkeypatch.setattr(parking, "app", new.app)
    monkeypatch.setattr(parking, "misfit", other_worker_sends)

    assert (parking.send_known(), new.waiting()) == (0, 0)


def test_task_parked_for_a_month_is_dropped_with_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    day = datetime.timedelta(days=1)
    for age in (parking.KEEP_DAYS - 1, parking.KEEP_DAYS + 1):
        ParkedTask.objects.create(task=f"{age}", message="{}", parked=timezone.now() - age * day)

    assert parking.send_known() == 0

    assert [row.task for row in ParkedTask.objects.all()] == [f"{parking.KEEP_DAYS - 1}"]
    assert [r.levelno for r in caplog.records if "dropped" in r.message] == [logging.ERROR]


class Unreadable:
    """A message whose serializer this release does not accept."""

    @property
    def payload(self) -> object:
        """Fail as Kombu does."""
        raise ContentDisallowed("refusing pickle")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        # Celery protocol 2, then 1.
        ((["a"], {"size": 1}, {}), ""),
        ((["a", 1, "b"], {}, {}), "takes other arguments"),
        ((["a"], {"colour": 1}, {}), "takes other arguments"),
        ({"args": ["a"], "kwargs": {"size": 1}}, ""),
        ({"args": ["a"]}, ""),
        ({"kwargs": {"name": "a"}}, ""),
        ({"args": ["a"], "kwargs": {"colour": 1}}, "takes other arguments"),
        ({"args": ["a", 1, "b"]}, "takes other arguments"),
        ({}, "takes other arguments"),
        ("x", "cannot be read (ValueError"),
    ],
)
def test_message_arguments_are_checked_against_the_task_signature(
    payload: object, reason: str
) -> None:
    def resize(name: str, size: int = 0) -> None:
        pass

    app = Celery("release", set_as_current=False)
    typed = app.task(resize, name="resize", shared=False)
    untyped = app.task(resize, name="any", typing=False, shared=False)
    message: Any = SimpleNamespace(payload=payload)

    result = parking.misfit(typed, message)
    assert result.startswith(reason) and bool(result) is bool(reason)
    if "cannot be read" not in reason:
        assert parking.misfit(untyped, message) == ""
    unreadable: Any = Unreadable()
    for task in (typed, untyped):
        result = parking.misfit(task, unreadable)
        assert result == "cannot be read (ContentDisallowed: refusing pickle)"


def test_parked_message_is_sent_with_its_body_headers_and_properties() -> None:
    message: Any = SimpleNamespace(
        body=b"\x00body",
        content_type="application/x-own",
        content_encoding="binary",
        headers={"task": "later", "retries": 2},
        properties={"correlation_id": "c", "reply_to": None, "priority": 0, "delivery_tag": 7},
    )
    parking.keep(message, "later")

    (row,) = ParkedTask.objects.all()
    assert row.task == "later" and timezone.now() - row.parked < datetime.timedelta(minutes=5)
    envelope = json.loads(row.message)
    assert envelope == {
        "body": base64.b64encode(message.body).decode(),
        "content_type": "application/x-own",
        "content_encoding": "binary",
        "headers": {"task": "later", "retries": 2},
        "properties": {"correlation_id": "c", "priority": 0},
    }

    sent: list[tuple[object, dict[str, Any]]] = []
    queue = SimpleNamespace(name="jobs")
    producer = SimpleNamespace(publish=lambda body, **options: sent.append((body, options)))
    celery: Any = SimpleNamespace(
        amqp=SimpleNamespace(
            router=SimpleNamespace(route=lambda _, name: {"queue": {"later": queue}[name]})
        ),
        producer_or_acquire=lambda: nullcontext(producer),
        conf=SimpleNamespace(task_publish_retry_policy={"max_retries": 1}),
    )
    parking.publish(celery, "later", message, envelope["properties"])
    assert sent == [
        (
            b"\x00body",
            {
                "exchange": "",
                "routing_key": "jobs",
                "declare": [queue],
                "content_type": "application/x-own",
                "content_encoding": "binary",
                "headers": {"task": "later", "retries": 2},
                "retry": True,
                "retry_policy": {"max_retries": 1},
                "correlation_id": "c",
                "priority": 0,
            },
        )
    ]


@pytest.mark.parametrize(
    "message",
    [
        SimpleNamespace(headers={"task": "later"}, payload=((), {}, {})),
        SimpleNamespace(headers={}, payload={"task": "later", "args": []}),
    ],
    ids=["protocol 2", "protocol 1"],
)
def test_unknown_task_is_parked_by_name_in_celery_protocols_1_and_2(message: Any) -> None:
    """In protocol 2 the header has the name, in protocol 1 the body."""
    names: list[str] = []
    consumer: Any = SimpleNamespace(park=lambda _, name, reason: names.append(name))
    parking.TaskConsumer.on_unknown_task(consumer, None, message, KeyError("later"))

    assert names == ["later"]
