"""A load of many clients that records the outcome of every request."""

import http.client
import itertools
import os
import random
import ssl
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from tests.background import InBackground
from tests.waiting import eventually

# Longer than any limit of HAProxy; a request without a response until then has failed.
TIMEOUT_SECONDS = 40
# Between the starts of two requests of a client, in seconds.
PAGE_INTERVAL = 0.5
WRITE_INTERVAL = 1.0
SLOW_INTERVAL = 3.0
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
    """Requests at a given rate, even while earlier ones are still running; none is retried.

    An open loop: a load that waits for answers sends less when the site is slow, which hides it.
    https://www.usenix.org/conference/nsdi-06/open-versus-closed-cautionary-tale
    """

    requests: Iterator[Request]
    # Whether the next request uses the same connection; while that is busy, a new one.
    keep_alive: bool = True
    # Seconds between the starts of two requests, on average: clients that send at the same moments
    # would get the same server each time.
    interval: float = 0.2
    # For requests over HTTPS.
    ssl_context: ssl.SSLContext | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    idle: list[http.client.HTTPConnection] = field(default_factory=list)

    def run(self, port: int, over: threading.Event) -> None:
        """Start each request in its own thread until the load ends, then wait for all responses."""
        due = time.monotonic() + self.interval * random.random()
        threads: list[threading.Thread] = []
        for request in self.requests:
            if over.wait(max(0.0, due - time.monotonic())):
                break
            threads = [thread for thread in threads if thread.is_alive()]
            threads.append(threading.Thread(target=self.record, args=(port, request)))
            threads[-1].start()
            due += self.interval * random.uniform(0.5, 1.5)
        for thread in threads:
            thread.join()
        self.close()

    def record(self, port: int, request: Request) -> None:
        """Send one request and record its outcome."""
        self.outcomes.append(self.ask(port, request))

    def ask(self, port: int, request: Request) -> Outcome:
        """Send one request and read its whole response."""
        started = time.monotonic()
        status, error = 0, ""
        connection = self.connection(port)
        try:
            headers = {} if self.keep_alive else {"Connection": "close"}
            if request.cookie:
                headers["Cookie"] = request.cookie
            body = None
            if request.body_seconds:
                body = slow_body(request.body_seconds)
                headers["Content-Length"] = str(SLOW_BODY_BYTES)
            connection.request(request.method, request.path, body=body, headers=headers)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
            if status != request.status:
                # HAProxy's line has the same id.
                error = f"request {answer.getheader('X-Request-ID')}"
            # At most one is kept: HAProxy would close those that stay idle.
            if not self.keep_alive or answer.will_close or self.idle:
                connection.close()
            else:
                self.idle.append(connection)
        except (OSError, http.client.HTTPException) as reason:
            error = repr(reason)
            connection.close()
        return Outcome(request, started, time.monotonic() - started, status, error)

    def connection(self, port: int) -> http.client.HTTPConnection:
        """Return the idle connection, or a new one."""
        try:
            return self.idle.pop()
        except IndexError:
            return self.connect(port)

    def connect(self, port: int) -> http.client.HTTPConnection:
        """Return a connection, which opens with its first request."""
        if self.ssl_context is None:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=self.ssl_context
        )

    def close(self) -> None:
        """Close the idle connections."""
        while self.idle:
            self.idle.pop().close()


class ClosedLoop(Client):
    """Requests one after another without a pause: one is running at any time."""

    def run(self, port: int, over: threading.Event) -> None:
        """Send requests until the load ends; the running request is finished."""
        for request in self.requests:
            if over.is_set():
                break
            self.record(port, request)
        self.close()


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

    One server can serve all of it while the other is replaced: the slow page occupies one worker
    two thirds of the time, all other requests less of the second. More would test overload
    (test_overload.py).
    """
    fast, slow = repeated("GET", "/profile/"), repeated("GET", "/loadtest/slow/2000")
    return [
        *(Client(fast(), interval=PAGE_INTERVAL) for _ in range(14)),
        *(Client(fast(), interval=PAGE_INTERVAL, keep_alive=False) for _ in range(4)),
        *(Client(unique_orders(), interval=WRITE_INTERVAL) for _ in range(6)),
        *(Client(unique_orders(), interval=WRITE_INTERVAL, keep_alive=False) for _ in range(2)),
        *(Client(repeated("GET", static)(), interval=PAGE_INTERVAL) for _ in range(4)),
        Client(repeated("GET", static)(), interval=PAGE_INTERVAL, keep_alive=False),
        Client(slow(), interval=SLOW_INTERVAL),
    ]


class Load(InBackground):
    """Run all clients in parallel during a `with` block."""

    def __init__(self, port: int, clients: Sequence[Client]) -> None:
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
