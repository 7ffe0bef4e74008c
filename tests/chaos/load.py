"""A load of many clients that accounts for every request."""

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

# A request without an answer for so long has failed; HAProxy's own limits are below it.
TIMEOUT_SECONDS = 40
# Between two requests of a visitor, in seconds.
PAGE_PAUSE = 0.4
WRITE_PAUSE = 0.8
# The bytes of a slow body.
DRIPS = 20


@dataclass(frozen=True)
class Request:
    """What a client asks for."""

    method: str
    path: str
    # What the answer has to be.
    status: int = 200
    # How long the client takes to send its body; 0: it has none.
    body_seconds: float = 0
    cookie: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one request: every one has exactly one."""

    request: Request
    started: float
    seconds: float
    # The answer's status, or 0 where none came.
    status: int
    error: str = ""

    @property
    def failed(self) -> bool:
        """Return whether a visitor would have noticed."""
        return self.status != self.request.status

    @property
    def ended(self) -> float:
        """Return when it was over, on the monotonic clock."""
        return self.started + self.seconds


@dataclass
class Client:
    """One visitor who asks again and again; never twice for the same request."""

    requests: Iterator[Request]
    keep_alive: bool = True
    # Between two requests, in seconds.
    pause: float = 0.1
    # What the client believes, if it asks by https.
    trusting: ssl.SSLContext | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    connection: http.client.HTTPConnection | None = None

    def run(self, port: int, over: threading.Event) -> None:
        """Ask until the load is over; the request under way is finished."""
        for request in self.requests:
            if over.is_set():
                break
            self.outcomes.append(self.ask(port, request))
            over.wait(self.pause)
        self.hang_up()

    def ask(self, port: int, request: Request) -> Outcome:
        """Send one request and wait for all of its answer."""
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
                body = dripping(request.body_seconds)
                headers["Content-Length"] = str(DRIPS)
            self.connection.request(request.method, request.path, body=body, headers=headers)
            answer = self.connection.getresponse()
            answer.read()
            status = answer.status
            if answer.will_close:
                self.hang_up()
        except (OSError, http.client.HTTPException) as reason:
            error = repr(reason)
            self.hang_up()
        return Outcome(request, started, time.monotonic() - started, status, error)

    def connect(self, port: int) -> http.client.HTTPConnection:
        """Return a connection that opens with its first request."""
        if self.trusting is None:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=self.trusting
        )

    def hang_up(self) -> None:
        """Close the connection; the next request opens another."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Arrivals(Client):
    """Visitors who come on time, `pause` apart, whether or not those before have their answer."""

    def run(self, port: int, over: threading.Event) -> None:
        """Send each request in a thread of its own until the load is over; wait for the answers."""
        due = time.monotonic()
        threads = []
        for request in self.requests:
            if over.wait(max(0.0, due - time.monotonic())):
                break
            threads.append(threading.Thread(target=self.arrive, args=(port, request)))
            threads[-1].start()
            due += self.pause
        for thread in threads:
            thread.join()

    def arrive(self, port: int, request: Request) -> None:
        """Be one of them."""
        visitor = Client(iter(()), keep_alive=False)
        self.outcomes.append(visitor.ask(port, request))


def dripping(seconds: float) -> Iterator[bytes]:
    """Yield a body byte by byte, spread over so many seconds."""
    for _ in range(DRIPS):
        time.sleep(seconds / DRIPS)
        yield b" "


def always(method: str, path: str, body_seconds: float = 0) -> Callable[[], Iterator[Request]]:
    """Return a source of the same request for ever."""
    return lambda: itertools.repeat(Request(method, path, body_seconds=body_seconds))


def orders() -> Iterator[Request]:
    """Yield writes, each with a key of its own."""
    while True:
        yield Request("POST", f"/loadtest/order/{uuid.uuid4()}", 201)


def mixed_clients(static: str) -> list[Client]:
    """Return 32 visitors: fast and slow pages, writes, files; old and new connections.

    All of it is below what one server can do, since that is what there is while the other one is
    replaced: the slow page takes one of its two workers, the rest two thirds of the other's time,
    where a page takes 5 ms and a write 45. More would be a test of overload (test_overload.py).
    """
    fast, slow = always("GET", "/profile/"), always("GET", "/loadtest/slow/2000")
    return [
        *(Client(fast(), pause=PAGE_PAUSE) for _ in range(14)),
        *(Client(fast(), pause=PAGE_PAUSE, keep_alive=False) for _ in range(4)),
        *(Client(orders(), pause=WRITE_PAUSE) for _ in range(6)),
        *(Client(orders(), pause=WRITE_PAUSE, keep_alive=False) for _ in range(2)),
        *(Client(always("GET", static)()) for _ in range(4)),
        *(Client(always("GET", static)(), keep_alive=False) for _ in range(1)),
        Client(slow()),
    ]


class Load(InBackground):
    """All clients at once, for the time of a `with` block; every request gets its outcome."""

    def __init__(self, port: int, clients: list[Client]) -> None:
        """Describe it; the block starts it."""
        self.clients = clients
        tasks = [partial(client.run, port) for client in clients]
        super().__init__(tasks, end_seconds=TIMEOUT_SECONDS + 5)

    def __enter__(self) -> Self:
        # What was built before is on the disk: its flush would hold up the database's commits.
        os.sync()
        return super().__enter__()

    def warm_up(self) -> None:
        """Return once every client has been answered."""
        eventually(
            lambda: all(client.outcomes for client in self.clients),
            seconds=60,
            what="every client is served",
        )

    def all_served_again(self) -> None:
        """Return once every client has been answered a request that it sent after this call."""
        now = time.monotonic()
        eventually(
            lambda: all(client.outcomes[-1].started > now for client in self.clients),
            seconds=TIMEOUT_SECONDS + 10,
            what="every client is served again",
        )

    @property
    def outcomes(self) -> list[Outcome]:
        """Return what became of every request so far."""
        return [outcome for client in self.clients for outcome in client.outcomes]

    @property
    def failed(self) -> list[Outcome]:
        """Return the requests that a visitor would call failed."""
        return [outcome for outcome in self.outcomes if outcome.failed]

    def acknowledged(self) -> set[str]:
        """Return the keys of the writes that were answered 201."""
        return {
            outcome.request.path.rpartition("/")[2]
            for outcome in self.outcomes
            if outcome.request.method == "POST" and outcome.status == 201
        }

    def summary(self) -> str:
        """Return one line for a person."""
        longest = max((outcome.seconds for outcome in self.outcomes), default=0)
        kinds = Counter(
            f"{o.request.method} {o.status or o.error[:60]}" for o in self.failed
        ).most_common(5)
        return (
            f"{len(self.outcomes)} requests, {len(self.failed)} failed {kinds or ''}, "
            f"longest {longest:.2f} s"
        )
