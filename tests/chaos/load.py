"""A load of many clients that records the outcome of every request."""

import http.client
import itertools
import os
import ssl
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from tests.background import InBackground
from tests.waiting import eventually

# Longer than any limit of HAProxy; a request without a response until then has failed.
TIMEOUT_SECONDS = 40
# Pauses between two requests of a client, in seconds.
PAGE_PAUSE = 0.4
WRITE_PAUSE = 0.8
# Bytes of a slow request body.
SLOW_BODY_BYTES = 20


@dataclass(frozen=True)
class Request:
    """A request that a client sends."""

    method: str
    path: str
    # The expected status.
    status: int = 200
    # How long the client takes to send its body; 0 for no body.
    body_seconds: float = 0
    cookie: str = ""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one request; every request has exactly one."""

    request: Request
    started: float
    seconds: float
    # The status, or 0 without a response.
    status: int
    error: str = ""

    @property
    def failed(self) -> bool:
        """Return whether the response did not have the expected status."""
        return self.status != self.request.status

    @property
    def ended(self) -> float:
        """Return the end of the request on the monotonic clock."""
        return self.started + self.seconds


@dataclass
class Client:
    """A client that sends requests one after another and never retries."""

    requests: Iterator[Request]
    keep_alive: bool = True
    # Pause between two requests, in seconds.
    pause: float = 0.1
    # For requests over HTTPS.
    ssl_context: ssl.SSLContext | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    connection: http.client.HTTPConnection | None = None

    def run(self, port: int, over: threading.Event) -> None:
        """Send requests until the load ends; the running request is finished."""
        for request in self.requests:
            if over.is_set():
                break
            self.outcomes.append(self.ask(port, request))
            over.wait(self.pause)
        self.close()

    def ask(self, port: int, request: Request) -> Outcome:
        """Send one request and read its whole response."""
        started = time.monotonic()
        status, error = 0, ""
        try:
            if self.connection is None:
                self.connection = self.connect(port)
            headers = {} if self.keep_alive else {"Connection": "close"}
            if request.cookie:
                headers["Cookie"] = request.cookie
            body = None
            if request.body_seconds:
                body = slow_body(request.body_seconds)
                headers["Content-Length"] = str(SLOW_BODY_BYTES)
            self.connection.request(request.method, request.path, body=body, headers=headers)
            answer = self.connection.getresponse()
            answer.read()
            status = answer.status
            if status != request.status:
                # HAProxy's line has the same id.
                error = f"request {answer.getheader('X-Request-ID')}"
            if answer.will_close:
                self.close()
        except (OSError, http.client.HTTPException) as reason:
            error = repr(reason)
            self.close()
        return Outcome(request, started, time.monotonic() - started, status, error)

    def connect(self, port: int) -> http.client.HTTPConnection:
        """Return a connection, which opens with its first request."""
        if self.ssl_context is None:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=self.ssl_context
        )

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Arrivals(Client):
    """Requests at a fixed rate, `pause` apart, even while earlier ones are still running."""

    def run(self, port: int, over: threading.Event) -> None:
        """Send each request in its own thread until the load ends, then wait for all responses."""
        due = time.monotonic()
        threads = []
        for request in self.requests:
            if over.wait(max(0.0, due - time.monotonic())):
                break
            threads.append(threading.Thread(target=self.send_alone, args=(port, request)))
            threads[-1].start()
            due += self.pause
        for thread in threads:
            thread.join()

    def send_alone(self, port: int, request: Request) -> None:
        """Send one request over its own connection."""
        visitor = Client(iter(()), keep_alive=False)
        self.outcomes.append(visitor.ask(port, request))


def slow_body(seconds: float) -> Iterator[bytes]:
    """Yield a body byte by byte over this many seconds."""
    for _ in range(SLOW_BODY_BYTES):
        time.sleep(seconds / SLOW_BODY_BYTES)
        yield b" "


def repeated(method: str, path: str, body_seconds: float = 0) -> Callable[[], Iterator[Request]]:
    """Return a function that yields the same request forever."""
    return lambda: itertools.repeat(Request(method, path, body_seconds=body_seconds))


def unique_orders() -> Iterator[Request]:
    """Yield writes, each with its own key."""
    while True:
        yield Request("POST", f"/loadtest/order/{uuid.uuid4()}", 201)


def mixed_clients(static: str) -> list[Client]:
    """Return 32 clients: fast and slow pages, writes, files; kept and new connections.

    One server can serve all of it while the other is replaced: the slow page occupies one worker,
    all other requests two thirds of the second. More would test overload (test_overload.py).
    """
    fast, slow = repeated("GET", "/profile/"), repeated("GET", "/loadtest/slow/2000")
    return [
        *(Client(fast(), pause=PAGE_PAUSE) for _ in range(14)),
        *(Client(fast(), pause=PAGE_PAUSE, keep_alive=False) for _ in range(4)),
        *(Client(unique_orders(), pause=WRITE_PAUSE) for _ in range(6)),
        *(Client(unique_orders(), pause=WRITE_PAUSE, keep_alive=False) for _ in range(2)),
        *(Client(repeated("GET", static)()) for _ in range(4)),
        *(Client(repeated("GET", static)(), keep_alive=False) for _ in range(1)),
        Client(slow()),
    ]


class Load(InBackground):
    """Run all clients in parallel during a `with` block."""

    def __init__(self, port: int, clients: list[Client]) -> None:
        """Prepare the clients; entering the block starts them."""
        self.clients = clients
        tasks = [partial(client.run, port) for client in clients]
        super().__init__(tasks, end_seconds=TIMEOUT_SECONDS + 5)

    def __enter__(self) -> Self:
        # Flush what was built before; otherwise its writes delay commits of the database.
        os.sync()
        return super().__enter__()

    def warm_up(self) -> None:
        """Wait until every client has received a response."""
        eventually(
            lambda: all(client.outcomes for client in self.clients),
            seconds=60,
            what="every client is served",
        )

    def wait_until_all_are_served(self) -> None:
        """Wait until every client has received a response to a request sent after this call."""
        now = time.monotonic()
        eventually(
            lambda: all(client.outcomes[-1].started > now for client in self.clients),
            seconds=TIMEOUT_SECONDS + 10,
            what="every client is served again",
        )

    @property
    def outcomes(self) -> list[Outcome]:
        """Return the outcome of every request so far."""
        return [outcome for client in self.clients for outcome in client.outcomes]

    @property
    def failed(self) -> list[Outcome]:
        """Return the failed requests."""
        return [outcome for outcome in self.outcomes if outcome.failed]

    def acknowledged(self) -> set[str]:
        """Return the keys of the writes that were answered 201."""
        return {
            outcome.request.path.rpartition("/")[2]
            for outcome in self.outcomes
            if outcome.request.method == "POST" and outcome.status == 201
        }

    def summary(self) -> str:
        """Return a summary in one line."""
        longest = max((outcome.seconds for outcome in self.outcomes), default=0)
        failures = Counter(
            f"{o.request.method} {o.status or o.error[:60]}" for o in self.failed
        ).most_common(5)
        return (
            f"{len(self.outcomes)} requests, {len(self.failed)} failed {failures or ''}, "
            f"longest {longest:.2f} s"
        )
