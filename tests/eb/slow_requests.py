"""Requests that take seconds, without a view that is made for it: production has none.

Two kinds, since nginx hands a request on only when its body is there:

- one whose answer waits: a visit is counted under its row's lock in the database, and somebody
  else has that lock. It is under way in every tier: balancer, both nginx, uWSGI, database;
- one whose body is slow: it is under way at the balancer and the instance's nginx.
"""

import re
import threading
import time

import requests

from tests.background import InBackground
from tests.chaos.load import Client, Outcome, Request, repeated
from tests.eb.docker import Container

SECONDS = 2
HITS = "/api/hits/"
# Another transaction has the counter's row; the site waits for it 5 s at most (ops/database/mysql).
LOCK = (
    "START TRANSACTION; SELECT value FROM demo_counter WHERE name = 'visits' FOR UPDATE; "
    f"DO SLEEP({SECONDS}); COMMIT;"
)


class LockedCounter(InBackground):
    """Keeps the visit counter locked again and again, for the time of a `with` block."""

    def __init__(self, database: Container) -> None:
        """Describe it; the counter has to have been counted once."""
        self.database = database
        super().__init__([self.run], end_seconds=4 * SECONDS)

    def run(self, over: threading.Event) -> None:
        """Lock, wait, let go; the requests that wait have their turn then."""
        script = 'MYSQL_PWD="$DB_PASSWORD" mysql --user="$DB_USER" --execute="$0" mysite'
        while not over.is_set():
            self.database.execute("sh", "-c", script, LOCK)


def slow_clients() -> list[Client]:
    """Return visitors whose requests take seconds: few, so that each instance has a free worker."""
    return [
        *(Client(repeated("POST", HITS)(), pause=0) for _ in range(3)),
        Client(repeated("POST", HITS, body_seconds=SECONDS)(), keep_alive=False, pause=0),
    ]


class Reader(Client):
    """A browser's visit: the page through the balancer, then each file from where the page says."""

    def __init__(self) -> None:
        """Ask for the page again and again."""
        super().__init__(repeated("GET", "/status/")(), keep_alive=False)
        self.seen: set[str] = set()

    def ask(self, port: int, request: Request) -> Outcome:
        """Fetch a page with its files; one file that is missing is a page that failed."""
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
