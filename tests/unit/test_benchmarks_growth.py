"""The curves of `make bench GROWTH=1`, and their section of docs/performance.md."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.growth.crowd import crowd
from benchmarks.growth.curve import Curve
from benchmarks.growth.visits import Visits, milliseconds_each
from benchmarks.rounds import Options

FACTS = {"date": "today", "cores": 2, "memory_gib": 4, "engine": "1", "busy_before": 0.25}
CURVE = Curve("rows", ("page, ms", "failed"), ((10, (0.5, 0)), (100_000, (1234.5, 3))))


class Site(BaseHTTPRequestHandler):
    """Answers /missing with 404, and closes the connection after each answer to /closing."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", "2")
        if self.path == "/closing":
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_curve_has_each_figure_and_its_multiple_of_the_first_row() -> None:
    assert CURVE.table().splitlines() == [
        "| rows | page, ms | failed |",
        "| --- | --- | --- |",
        "| 10 | 0.5 (1.00) | 0 |",
        "| 100,000 | 1,234 (2469.00) | 3 |",
    ]


def test_cost_of_a_request_excludes_what_is_used_without_visitors() -> None:
    busy = Visits(100, 0, 1.0, 2.0, 0, 0, cpu_us=250_000.0)
    idle = Visits(0, 0, 0.0, 0.0, 0, 0, cpu_us=50_000.0)

    assert milliseconds_each(busy, idle) == 2.0


def test_performance_page_keeps_the_part_that_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "performance.md")
    page.PAGE.write_text("# Performance\n\nratios\n")

    page.write_growth(FACTS, [CURVE])
    page.write_growth(FACTS | {"date": "tomorrow"}, [CURVE])

    text = page.PAGE.read_text()
    monkeypatch.setattr(page, "ratio_rows", lambda samples: [("new ratios", "1", "2")])
    page.write_page(FACTS, Options(seconds=6, rounds=3, connections=16), {})
    both = page.PAGE.read_text()

    assert text.startswith("# Performance\n\nratios\n\n## Growth\n\n")
    assert text.count("## Growth") == text.count(CURVE.table()) == 1
    assert "Measured tomorrow" in text and "Measured today" not in text
    assert "| new ratios | 1 | 2 |" in both
    assert both.endswith(text.removeprefix("# Performance\n\nratios\n"))


@pytest.mark.parametrize(
    ("path", "kept_path", "failed"), [("/", "/", 0), ("/missing", "/closing", 3)]
)
def test_visitors_and_kept_connections_are_counted(
    port: int, path: str, kept_path: str, failed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.growth.crowd.PAUSE_SECONDS", 0.1)

    seen = asyncio.run(crowd(port, path, rate=10, seconds=0.3, kept=2, kept_path=kept_path))

    assert (seen["requests"], seen["failed"], seen["kept_failed"]) == (3, failed, 0)
    # Each at least once before visitors arrive, and again while they do.
    assert seen["kept_requests"] >= 4
