"""Clients that send requests in the background and record every outcome."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.targets import PROFILE_PATH

VISITORS = 4
# Pause between two requests, far below the capacity of the servers.
PAUSE_SECONDS = 0.05
# Longer than any timeout of HAProxy.
TIMEOUT_SECONDS = 40


@dataclass(frozen=True)
class VisitorAnswer:
    """The outcome of one request.

    Attributes:
        started: when it was sent, in seconds of the monotonic clock.
        seconds: how long it took.
        good: whether the status was 200.

    """

    started: float
    seconds: float
    good: bool


@dataclass
class Visitors:
    """The clients, and the outcome of each request."""

    port: int
    over: threading.Event = field(default_factory=threading.Event)
    outcomes: list[VisitorAnswer] = field(default_factory=list)

    def visit(self) -> None:
        """Send requests over one connection, reopened when it is closed, until the end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        while not self.over.wait(PAUSE_SECONDS):
            started = time.monotonic()
            good = _is_good(connection)
            self.outcomes.append(VisitorAnswer(started, time.monotonic() - started, good))
        connection.close()


def _is_good(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", PROFILE_PATH)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return False
    return answer.status == http.client.OK


@contextmanager
def visitors(port: int) -> Iterator[Visitors]:
    """Send requests during the block; running requests are finished at its end."""
    load = Visitors(port)
    threads = [threading.Thread(target=load.visit, daemon=True) for _ in range(VISITORS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.over.set()
        for thread in threads:
            thread.join(TIMEOUT_SECONDS + 5)
