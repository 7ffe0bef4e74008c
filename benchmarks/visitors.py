"""A few visitors who ask again and again while something else goes on; every request counts."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.targets import PROFILE_PATH

VISITORS = 4
# Between two requests of a visitor: far below what the servers can do.
PAUSE_SECONDS = 0.05
# Longer than any of HAProxy's own limits.
TIMEOUT_SECONDS = 40


@dataclass(frozen=True)
class VisitorAnswer:
    """What became of one request.

    Attributes:
        started: when it was sent, in seconds of the monotonic clock.
        seconds: how long it took.
        good: whether the answer was a 200.

    """

    started: float
    seconds: float
    good: bool


@dataclass
class Visitors:
    """Those who ask, and what became of each request."""

    port: int
    over: threading.Event = field(default_factory=threading.Event)
    outcomes: list[VisitorAnswer] = field(default_factory=list)

    def visit(self) -> None:
        """Ask over one connection, opened again when it is closed, until all is over."""
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
    """Have the site visited for the block's time; each request under way at its end is finished."""
    found = Visitors(port)
    threads = [threading.Thread(target=found.visit, daemon=True) for _ in range(VISITORS)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        found.over.set()
        for thread in threads:
            thread.join(TIMEOUT_SECONDS + 5)
