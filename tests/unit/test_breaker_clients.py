"""Breakers in the clients of Redis and of the broker."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

import kombu.exceptions
import pytest
import redis
from celery import Celery

from mysite.celery import app
from ops.breaker import BROKER, REDIS, within
from ops.redis_client import AskOnce, NotAskedError


def test_result_after_the_timeout_is_undone() -> None:
    go, undone = threading.Event(), Queue[str]()

    def late() -> str:
        go.wait(10)
        return "late"

    with pytest.raises(TimeoutError):
        within(0.01, late, undone.put)
    go.set()

    assert undone.get(timeout=10) == "late"
    assert within(10, lambda: "at once", lambda _: None) == "at once"


@contextmanager
def hanging_server() -> Iterator[tuple[int, list[int]]]:
    """Give the port of a server that accepts connections and never answers, and its connections."""
    accepted: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            try:
                while True:
                    accepted.append(server.accept()[0].detach())
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], accepted
        server.shutdown(socket.SHUT_RDWR)
    for descriptor in accepted:
        os.close(descriptor)


@pytest.mark.usefixtures("no_end_of_the_pause")
def test_hanging_redis_is_tried_once_for_all_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hanging_server() as (port, accepted):
        url = f"redis://127.0.0.1:{port}"
        client = redis.Redis(port=port, retry=AskOnce(), socket_timeout=1)
        monkeypatch.setitem(app.conf, "broker_write_url", url)
        monkeypatch.setitem(app.conf, "broker_url", url)
        monkeypatch.setattr("ops.celery.breaker_of", lambda _: REDIS)
        for _ in range(3):
            with pytest.raises(redis.RedisError):
                client.incr("orders")
            with pytest.raises(kombu.exceptions.OperationalError, match="a moment ago"):
                app.send_task("tests.ship")
        with pytest.raises(NotAskedError):
            redis.Redis(port=port, retry=AskOnce()).ping()

        assert len(accepted) == 1


def test_wrong_redis_password_leaves_the_breaker_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(redis.AuthenticationError):
        AskOnce().call_with_retry(refuse, lambda _: None)

    assert not REDIS.is_open


def refuse() -> None:
    """Answer as Redis does to a wrong password."""
    raise redis.AuthenticationError("WRONGPASS")


def test_task_that_cannot_be_serialized_leaves_the_breaker_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kombu.exceptions.EncodeError

    monkeypatch.setattr(Celery, "send_task", fail)
    with pytest.raises(kombu.exceptions.EncodeError):
        app.send_task("tests.ship", args=[object()])

    assert not BROKER.is_open


def test_full_redis_leaves_the_breaker_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses a message, and answers everything else."""

    def fail(*_: object, **__: object) -> None:
        full = redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
        raise kombu.exceptions.OperationalError(str(full)) from full

    monkeypatch.setattr(Celery, "send_task", fail)
    monkeypatch.setattr("ops.celery.breaker_of", lambda _: REDIS)
    with pytest.raises(kombu.exceptions.OperationalError, match="maxmemory"):
        app.send_task("tests.ship", args=["a"])

    assert not REDIS.is_open
