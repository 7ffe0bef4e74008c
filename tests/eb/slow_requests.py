"""Requests that take seconds, without a test view, since production has none.

- A slow response: another session holds the lock of the visit counter's row. The request is
  running in every tier: balancer, both nginx, uWSGI, database.
- A slow body: the request is running in the balancer and the instance's nginx, which buffers it.
"""

import re
import threading
import time

import requests

from tests.background import InBackground
from tests.chaos.load import Client, ClosedLoop, Outcome, Request, repeated
from tests.eb.docker import Container

SECONDS = 2
HITS = "/api/hits/"
# Locks the counter's row; the site waits at most 5 s for it (ops/database/mysql).
LOCK = (
    "START TRANSACTION; SELECT value FROM demo_counter WHERE name = 'visits' FOR UPDATE; "
    f"DO SLEEP({SECONDS}); COMMIT;"
)


class LockedCounter(InBackground):
    """Locks the visit counter repeatedly during a `with` block."""

    def __init__(self, database: Container) -> None:
        """Prepare the thread; the row of the counter must exist."""
        self.database = database
        super().__init__([self.run], end_seconds=4 * SECONDS)

    def run(self, over: threading.Event) -> None:
        """Lock the row for SECONDS, repeatedly; waiting requests run in between."""
        script = 'MYSQL_PWD="$DB_PASSWORD" mysql --user="$DB_USER" --execute="$0" mysite'
        while not over.is_set():
            self.database.execute("sh", "-c", script, LOCK)


def slow_clients() -> list[Client]:
    """Return clients with slow requests, so few that each instance keeps a free worker."""
    return [
        *(ClosedLoop(repeated("POST", HITS)()) for _ in range(3)),
        ClosedLoop(repeated("POST", HITS, body_seconds=SECONDS)(), keep_alive=False),
    ]


class BrowserVisit(Client):
    """A client that loads a page through the balancer, then the static files that it links."""

    def __init__(self) -> None:
        """Request the status page repeatedly."""
        super().__init__(repeated("GET", "/status/")(), keep_alive=False, interval=0.5)
        self.seen: set[str] = set()

    def ask(self, port: int, request: Request) -> Outcome:
        """Load a page and its files; a missing file fails the request."""
        started = time.monotonic()
        try:
            page = requests.get(f"http://127.0.0.1:{port}{request.path}", timeout=30)
            files = re.findall(r'(?:href|src)="([^"]+\.[0-9a-f]{12}\.[a-z]+)"', page.text)
            status = page.status_code if files else 0
            for file in files:
                status = max(status, requests.get(file, timeout=30).status_code)
            self.seen |= set(files)
            error = ""
        except requests.RequestException as reason:
            status, error = 0, repr(reason)
        return Outcome(request, started, time.monotonic() - started, status, error)
