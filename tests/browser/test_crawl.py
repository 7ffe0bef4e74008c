"""The crawl of `./stackctl check` in Chromium, with unusual pages."""

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
    """The handler of two sites: the second one, on another port, always answers 500."""

    # The URL of the second site.
    other = ""

    def do_GET(self) -> None:
        """Answer depending on host and path."""
        is_other_site = self.headers["Host"] in self.other
        status = 500 if is_other_site or self.path == "/broken/" else 200
        redirects = {"/loop/": "/loop/", "/away/": self.other, "/fails/": f"{self.other}/x/"}
        location = "" if is_other_site else redirects.get(self.path, "")
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
    """Start both sites, and return their URLs."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Site) for _ in range(2)]
    addresses = [f"http://127.0.0.1:{server.server_port}" for server in servers]
    Site.other = addresses[1]
    for server in servers:
        Thread(target=server.serve_forever, daemon=True).start()
    yield addresses
    for server in servers:
        server.shutdown()
        server.server_close()


def test_crawl_reports_redirect_loops_and_busy_scripts_but_no_errors_of_other_sites(
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
        # Without its own timeout, the crawl would wait forever for the busy page.
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
