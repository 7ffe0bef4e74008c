"""The ASGI application: values from nginx, and streams that end when the server drains."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from ops import asgi_http
from ops.asgi_http import Message, Receive, Send
from ops.logs.requests import NGINX_LOGS

Project = Callable[[Message, Receive, Send], Coroutine[Any, Any, None]]
EVENTS: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"Content-Type", b"text/event-stream")],
}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}
ACCEPT = {"type": "websocket.accept"}


@pytest.fixture
def drain_file(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings, tmp_path: Path
) -> Iterator[Path]:
    """Return the file that makes this server drain; streams then end at once."""
    settings.DRAIN_FILE = tmp_path / "drain"
    monkeypatch.setattr(asgi_http, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(asgi_http, "DRAIN_SECONDS", 0.01)
    asgi_http.draining.cache_clear()
    yield settings.DRAIN_FILE
    asgi_http.draining.cache_clear()


def answered(
    monkeypatch: pytest.MonkeyPatch, project: Project, **scope: object
) -> tuple[list[Message], list[Message]]:
    """Return the scopes that a project's application receives, and what its client receives."""
    scopes: list[Message] = []
    sent: list[Message] = []

    async def own(scope: Message, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await project(scope, receive, send)

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        sent.append(message)

    monkeypatch.setattr(asgi_http, "project", own)
    given = {
        **{"type": "http", "path": "/", "headers": []},
        **{"client": None, "server": ("app.sock", None)},
        **scope,
    }
    asyncio.run(asgi_http.application(given, receive, send))
    return scopes, sent


async def nothing(scope: Message, receive: Receive, send: Send) -> None:
    """Answer nothing."""


def until_drained(drain_file: Path, *messages: Message, late: Message) -> Project:
    """Return an application that sends these, has the server drain, and sends one more."""

    async def project(scope: Message, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        drain_file.touch()
        await asgi_http.draining()
        await asyncio.sleep(0)
        await send(late)

    return project


def test_asgi_uses_client_address_and_port_from_nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = [(b"nginx-remote-addr", b"192.0.2.7"), (b"nginx-server-port", b"9145")]

    (scope,), _ = answered(monkeypatch, nothing, headers=[*headers, (b"host", b"localhost")])

    assert scope["client"] == ("192.0.2.7", 0)
    assert scope["server"][1] == 9145
    assert scope["headers"] == [(b"host", b"localhost")]
    assert scope[NGINX_LOGS]


def test_asgi_without_nginx_has_no_client_address_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    (scope,), _ = answered(monkeypatch, nothing)

    assert (scope["client"][0], scope["server"][1]) == ("", 0)
    assert not scope[NGINX_LOGS]


def test_websocket_ends_with_service_restart_when_the_server_drains(
    monkeypatch: pytest.MonkeyPatch, drain_file: Path
) -> None:
    project = until_drained(drain_file, ACCEPT, late={"type": "websocket.send", "text": "late"})

    _, sent = answered(monkeypatch, project, type="websocket")

    close = {"type": "websocket.close", "code": 1012, "reason": "restart"}
    assert sent == [ACCEPT, close]


def test_events_end_whole_and_unbuffered_when_the_server_drains(
    monkeypatch: pytest.MonkeyPatch, drain_file: Path
) -> None:
    event = {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True}
    project = until_drained(drain_file, EVENTS, event, late=event)

    _, (start, *rest) = answered(monkeypatch, project)

    assert start["headers"] == [*EVENTS["headers"], (b"X-Accel-Buffering", b"no")]
    assert rest == [event, LAST]


def test_other_responses_run_to_their_end_when_the_server_drains(
    monkeypatch: pytest.MonkeyPatch, drain_file: Path
) -> None:
    """A download that was cut off must not look whole."""
    start = {**EVENTS, "headers": [(b"Content-Type", b"text/csv")]}
    project = until_drained(drain_file, start, late=LAST)

    _, sent = answered(monkeypatch, project)

    assert sent == [start, LAST]


def test_finished_stream_is_not_ended_again(
    monkeypatch: pytest.MonkeyPatch, drain_file: Path
) -> None:
    async def finishing(scope: Message, receive: Receive, send: Send) -> None:
        await send(EVENTS)
        await send(LAST)

    async def requests() -> None:
        await asgi_http.application({"type": "http", "path": "/", "headers": []}, receive, send)
        drain_file.touch()
        await asgi_http.draining()
        await asyncio.sleep(0)

    sent: list[Message] = []

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        sent.append(message)

    monkeypatch.setattr(asgi_http, "project", finishing)
    asyncio.run(requests())

    assert sent[1:] == [LAST]


def test_django_alone_refuses_websockets_without_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    monkeypatch.setattr(asgi_http, "project", asgi_http.get_asgi_application())
    asyncio.run(asgi_http.application({"type": "websocket", "headers": []}, None, send))  # type: ignore[arg-type]

    assert sent == [{"type": "websocket.close"}]


def test_project_without_asgi_setting_is_djangos_own(settings: LazySettings) -> None:
    """The file asgi.py is the team's, and an update adds none."""
    del settings.ASGI_APPLICATION

    assert type(asgi_http.load()) is asgi_http.ASGIHandler


def test_few_streams_of_events_open_at_once(
    monkeypatch: pytest.MonkeyPatch, drain_file: Path
) -> None:
    """Each starts in a thread, with a connection to the database."""
    opening = most = 0

    async def project(scope: Message, receive: Receive, send: Send) -> None:
        nonlocal opening, most
        opening += 1
        most = max(most, opening)
        await asyncio.sleep(0)
        opening -= 1
        await send(EVENTS)

    async def nowhere(message: Message) -> None:
        """Lose a message."""

    async def requests() -> None:
        headers = [(b"accept", b"text/event-stream")]
        scope = {"type": "http", "path": "/", "headers": headers}
        receive: Any = None
        calls = (asgi_http.application(scope, receive, nowhere) for _ in range(30))
        await asyncio.wait_for(asyncio.gather(*calls), timeout=20)

    monkeypatch.setattr(asgi_http, "project", project)
    monkeypatch.setattr(asgi_http, "OPENING", asyncio.Semaphore(3))
    asyncio.run(requests())

    assert most == 3
    assert not asgi_http.OPENING.locked()


def test_stream_that_waits_to_open_does_not_count_as_hanging(
    monkeypatch: pytest.MonkeyPatch, drain_file: Path
) -> None:
    counted = 0

    @contextmanager
    def watched(path: str, has_begun: Callable[[], bool]) -> Iterator[None]:
        nonlocal counted
        counted += 1
        yield

    async def project(scope: Message, receive: Receive, send: Send) -> None:
        # Time for the others to start, if nothing keeps them.
        for _ in range(10):
            await asyncio.sleep(0)
        assert counted == 1
        await asyncio.get_running_loop().create_future()

    async def requests() -> None:
        headers = [(b"accept", b"text/event-stream")]
        scope = {"type": "http", "path": "/", "headers": headers}
        unused: Any = None
        calls = [asgi_http.application(scope, unused, unused) for _ in range(3)]
        tasks = [asyncio.create_task(call) for call in calls]
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()

    monkeypatch.setattr(asgi_http, "project", project)
    monkeypatch.setattr(asgi_http, "OPENING", asyncio.Semaphore(1))
    monkeypatch.setattr(asgi_http.hanging, "watched", watched)
    asyncio.run(requests())
    assert counted == 1


@pytest.mark.parametrize("parts", [0, 1, 2])
@pytest.mark.parametrize(
    ("accept", "start_of_body"),
    [(b"*/*", b'{"detail": "The server could not'), (b"text/html", b"<!doctype html>")],
)
def test_failure_before_the_view_is_answered_once_the_body_is_read(
    monkeypatch: pytest.MonkeyPatch, accept: bytes, start_of_body: bytes, parts: int
) -> None:
    """The disk is full, for example, when Django has read some parts of the body, or all."""
    body = [{"type": "http.request", "body": b"x", "more_body": more} for more in (True, False)]
    sent: list[Message] = []

    async def project(scope: Message, receive: Receive, send: Send) -> None:
        for _ in range(parts):
            await receive()
        raise OSError("No space left on device")

    async def receive() -> Message:
        return body.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    monkeypatch.setattr(asgi_http, "project", project)
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"accept", accept)]}
    asyncio.run(asgi_http.application(scope, receive, send))

    start, content = sent
    assert start["status"] == 500
    assert (b"retry-after", b"5") in start["headers"]
    assert content["body"].lower().startswith(start_of_body.lower())
    assert not body


def test_response_that_fails_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def project(scope: Message, receive: Receive, send: Send) -> None:
        await send(EVENTS)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        answered(monkeypatch, project)
