"""What `./stackctl check` notes of pages that are no ordinary ones, in a real browser."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.conftest import chromium
from tests.tree import ROOT

BUSY = '<script>onload = () => setTimeout(() => { for (;;); }, 0)</script><a href="/gone/">.</a>'
LINKS = "".join(f'<a href="/{name}/">.</a>' for name in ("busy", "loop", "away", "fails", "broken"))


class Site(BaseHTTPRequestHandler):
    """Two sites at once: the second one, which has another port, answers 500 alone."""

    # The second one's address.
    other = ""

    def do_GET(self) -> None:
        """Answer by the path."""
        away = self.headers["Host"] in self.other
        status = 500 if away or self.path == "/broken/" else 200
        goal = {"/loop/": "/loop/", "/away/": self.other, "/fails/": f"{self.other}/x/"}
        location = "" if away else goal.get(self.path, "")
        self.send_response(302 if location else status)
        self.send_header("Content-Type", "text/html")
        if location:
            self.send_header("Location", location)
        self.end_headers()
        pages = {"/": LINKS, "/busy/": BUSY}
        self.wfile.write(b"<title>t</title>" + pages.get(self.path, "").encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def sites() -> Iterator[list[str]]:
    """The addresses of both sites."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Site) for _ in range(2)]
    addresses = [f"http://127.0.0.1:{server.server_port}" for server in servers]
    Site.other = addresses[1]
    for server in servers:
        Thread(target=server.serve_forever, daemon=True).start()
    yield addresses
    for server in servers:
        server.shutdown()
        server.server_close()


def test_crawl_notes_endless_redirects_and_busy_scripts_but_no_answer_of_another_site(
    sites: list[str],
) -> None:
    plan: dict[str, Any] = {
        "mark": "MARK",
        "url": sites[0],
        "browser": chromium(),
        "paths": ["/"],
        "cookie": None,
    }
    plan |= {"pages": 20, "seconds": 60, "request_seconds": 2}

    done = subprocess.run(
        [sys.executable, "-m", "tools.stackctl.crawl.browser"],
        cwd=ROOT,
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        # A crawl that waits for a busy page does so for ever.
        timeout=60,
        check=True,
    )

    events = json.loads(done.stdout.partition("MARK")[2])["events"]
    assert {(event["kind"], event["page"]) for event in events} == {
        ("console", "/busy/"),
        ("loop", "/loop/"),
        ("error", "/broken/"),
    }
    assert "busy for more than 2 s" in events[0]["text"]
