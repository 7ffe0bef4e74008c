"""The ASGI application behind HTTP: what nginx says of the client, and streams with an end.

https://asgi.readthedocs.io/en/stable/specs/www.html
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import cache, partial
from io import BytesIO
from tempfile import SpooledTemporaryFile
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers import asgi
from django.core.handlers.asgi import ASGIHandler
from django.utils.module_loading import import_string

from ops import errors, hanging, startup
from ops.logs.requests import NGINX_LOGS

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# nginx sends these as headers, whatever a client sent by the same name (nginx/forward.conf).
ADDRESS, PORT = b"nginx-remote-addr", b"nginx-server-port"
EVENTS = b"text/event-stream"
# After a deploy all browsers open their events again: each starts with a thread of its own, and
# maybe a connection to the database.
OPENING = asyncio.Semaphore(8)
# Of RFC 6455's registry: the server restarts, connect again.
SERVICE_RESTART = 1012
POLL_SECONDS = 0.5
# By then load balancers have seen that /readyz answers 404: clients reconnect to another server.
DRAIN_SECONDS = 2.0


def load() -> Any:
    """Return the project's application, or Django's own where the settings name none."""
    if path := getattr(settings, "ASGI_APPLICATION", None):
        return import_string(path)
    result = get_asgi_application()
    startup.check_project()
    return result


def keep_bodies_with_uploads() -> None:
    """Have Django keep long bodies in FILE_UPLOAD_TEMP_DIR: its /tmp is memory in a container.

    Django has no setting for this.
    """
    spooled = partial(SpooledTemporaryFile, dir=settings.FILE_UPLOAD_TEMP_DIR)
    asgi.tempfile = SimpleNamespace(SpooledTemporaryFile=spooled)


keep_bodies_with_uploads()
project = load()


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Answer a request of nginx's, or a WebSocket's."""
    if scope["type"] == "lifespan":
        await project(scope, receive, send)
        return
    if scope["type"] == "websocket" and isinstance(project, ASGIHandler):
        # Django alone has no WebSockets, and would raise an error: 403.
        await send({"type": "websocket.close"})
        return
    stream, body = Stream(send), Body(receive)
    try:
        if accepts_events(scope):
            await stream.wait_to_open()
        # Not before: a wait for other streams to open is no page that hangs.
        with hanging.watched(scope["path"], stream.has_begun):
            await project(with_client(scope), body.receive, stream.send)
    except Exception:
        if scope["type"] != "http" or stream.has_begun():
            raise
        await answer_error(scope, body, send)
    finally:
        stream.stop_waiting()


class Body:
    """A request's body, of which Django may have read a part when it fails."""

    def __init__(self, receive: Receive) -> None:
        """Keep where the parts come from."""
        self._receive = receive
        self._is_read = False

    async def receive(self) -> Message:
        """Return the next part, or the client's end."""
        message = await self._receive()
        self._is_read = not message.get("more_body")
        return message

    async def discard(self) -> None:
        """Read what is left."""
        while not self._is_read:
            await self.receive()


async def answer_error(scope: Message, body: Body, send: Send) -> None:
    """Answer 500 to what Django raises before it has a request: the disk has no room for a body."""
    logger.exception("A request failed before its view.")
    # A server that closes its socket before nginx has written all of a body loses the response.
    await body.discard()
    response = errors.error(asgi.ASGIRequest(scope, BytesIO()), 500)
    response["Retry-After"] = str(errors.RETRY_AFTER_SECONDS)
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})


def with_client(scope: Message) -> Message:
    """Return the scope with the client's address and the port as nginx reports them."""
    reported = {name: value.decode() for name, value in scope["headers"] if name in (ADDRESS, PORT)}
    return {
        **scope,
        "headers": [one for one in scope["headers"] if one[0] not in (ADDRESS, PORT)],
        "client": (reported.get(ADDRESS, ""), 0),
        "server": ("nginx", int(reported.get(PORT) or 0)),
        NGINX_LOGS: ADDRESS in reported,
    }


def accepts_events(scope: Message) -> bool:
    """Return whether a client asks for server-sent events, which HAProxy lets in without limit."""
    return any(name == b"accept" and EVENTS in value.lower() for name, value in scope["headers"])


class Stream:
    """What a response or a WebSocket sends: an endless one gets an end when the server drains.

    The application learns the end from `receive`, as if its client had left.
    """

    def __init__(self, send: Send) -> None:
        """Keep where the messages go."""
        self._send = send
        self._last: Message | None = None
        self._has_begun = False
        self._has_ended = False
        self._holds_slot = False
        self._ending: asyncio.Task[None] | None = None

    async def wait_to_open(self) -> None:
        """Wait until few others are about to begin."""
        await OPENING.acquire()
        self._holds_slot = True

    async def send(self, message: Message) -> None:
        """Pass a message on, unless the stream has ended."""
        self._has_begun = True
        self._release_slot()
        if self._has_ended:
            return
        if message["type"] == "websocket.accept":
            last = {"type": "websocket.close", "code": SERVICE_RESTART, "reason": "restart"}
        elif message["type"] == "http.response.start" and is_events(message):
            # nginx passes each event on at once.
            message = {**message, "headers": [*message["headers"], (b"X-Accel-Buffering", b"no")]}
            last = {"type": "http.response.body", "body": b"", "more_body": False}
        else:
            await self._send(message)
            if message["type"] == "websocket.close" or not message.get("more_body", True):
                self.stop_waiting()
            return
        await self._send(message)
        self._last = last
        draining().add_done_callback(self._end)

    def has_begun(self) -> bool:
        """Return whether the application has sent anything."""
        return self._has_begun

    def stop_waiting(self) -> None:
        """Stop waiting for the server's end."""
        self._release_slot()
        if self._last is not None:
            draining().remove_done_callback(self._end)

    def _release_slot(self) -> None:
        if self._holds_slot:
            self._holds_slot = False
            OPENING.release()

    def _end(self, _: asyncio.Task[None]) -> None:
        self._has_ended = True
        self._ending = asyncio.ensure_future(self._send_last())

    async def _send_last(self) -> None:
        # The client may be gone.
        with suppress(OSError):
            await self._send(self._last or {})


def is_events(start: Message) -> bool:
    """Return whether a response is a stream of server-sent events."""
    types = [value for name, value in start["headers"] if name.lower() == b"content-type"]
    return any(value.lower().startswith(EVENTS) for value in types)


@cache
def draining() -> "asyncio.Task[None]":
    """Return what is done once the server drains; one for all streams of a worker."""
    return asyncio.ensure_future(wait_for_drain())


async def wait_for_drain() -> None:
    """Return when load balancers send this server, or gunicorn this worker, nothing new."""
    while not (settings.DRAIN_FILE.exists() or hanging.is_ending()):
        await asyncio.sleep(POLL_SECONDS)
    await asyncio.sleep(DRAIN_SECONDS)
