"""The time limit of requests, for all kinds of request bodies and responses."""

import http.client
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chaos.reliability import Figures
from tests.stack.compose import APP_SERVER, Stack
from tests.tree import ROOT
from tests.unit.config_files import limits

LIMIT_SECONDS = float(limits()["REQUEST_SECONDS"])
# gunicorn checks once a second, and a busy machine is slow.
LATE_SECONDS = 4
# More than fit into the limit, at one a second.
PIECES = 30
GUNICORN = {"APP_SERVER": "gunicorn"}
# Runs inside a container, since HAProxy would choose the server.
REQUEST_SCRIPT = (ROOT / "tests" / "chaos" / "ask.py").read_text()
HANGING_REQUESTS = [
    {"path": "/loadtest/hang", "body": 40_000},
    {"path": "/loadtest/hang", "body": 300_000, "chunked": True},
]
LONG_STREAMS = [{"path": f"/loadtest/stream/{PIECES}{query}"} for query in ("", "?now")]
SHORT_STREAMS = [
    {"path": "/loadtest/stream/1"},
    {"path": "/loadtest/stream/1?now"},
    {"path": "/loadtest/stream/1?fail"},
    {"path": "/loadtest/stream/1?now&fail"},
]


@pytest.fixture(scope="module")
def uwsgi_and_gunicorn(loaded: Stack) -> Iterator[Stack]:
    """Run server2 with gunicorn instead of uWSGI, and restore it afterwards."""
    loaded.compose("up", "--detach", "--wait", "--no-deps", "server2", environment=GUNICORN)
    try:
        loaded.wait_for_both()
        yield loaded
    finally:
        loaded.compose("up", "--detach", "--wait", "--no-deps", "server2")
        loaded.wait_for_both()


def request_all(
    stack: Stack, server: str, cases: Sequence[Mapping[str, object]]
) -> list[tuple[int, float, bool]]:
    """Send requests to one server in parallel; return status, seconds, and whether it was cut."""
    output = stack.run_in(server, "python", "-c", REQUEST_SCRIPT, json.dumps(cases))
    results: list[tuple[int, float, bool]] = json.loads(output.splitlines()[-1])
    return results


@pytest.mark.skipif(
    APP_SERVER == "asgi", reason="its limits are others; tests/stack/test_raised_limits.py"
)
def test_hanging_requests_and_long_streams_end_at_the_request_limit(
    uwsgi_and_gunicorn: Stack, figures: Figures
) -> None:
    """Each server gets two requests at a time, as many as it has workers."""
    servers = ("server1", "server2")
    with ThreadPoolExecutor(len(servers)) as pool:
        hanging = list(
            pool.map(
                lambda server: request_all(uwsgi_and_gunicorn, server, HANGING_REQUESTS), servers
            )
        )
        streams = list(
            pool.map(lambda server: request_all(uwsgi_and_gunicorn, server, LONG_STREAMS), servers)
        )

    ended = [request for results in hanging for request in results]
    cut = [request for results in streams for request in results]
    longest = max(took for _, took, _ in [*ended, *cut])
    figures.note(
        "a view that hangs after bodies of 40 kB and 300 kB (in chunks); streams of "
        f"{PIECES} s; uWSGI and gunicorn",
        f"each ends at the limit of {LIMIT_SECONDS:g} s; every cut stream is cut for its client",
        requests=len(ended) + len(cut),
        failed=len(ended) + len(cut),
        longest=longest,
        seen=f"{sum(was_cut for *_, was_cut in cut)} of {len(cut)} streams are cut for the client",
    )
    assert [status for status, *_ in ended] == [502] * len(ended)
    assert [(status, was_cut) for status, _, was_cut in cut] == [(200, True)] * len(cut)
    assert longest < LIMIT_SECONDS + LATE_SECONDS


@pytest.mark.parametrize("server", ["server1", "server2"])
def test_failed_stream_is_cut_and_finished_stream_is_complete(
    uwsgi_and_gunicorn: Stack, server: str
) -> None:
    results = request_all(uwsgi_and_gunicorn, server, SHORT_STREAMS)

    assert [(status, cut) for status, _, cut in results] == [
        *((200, False), (200, False)),
        *((200, True), (200, True)),
    ]


def test_haproxy_forwards_each_stream_piece_at_once_and_the_cut(loaded: Stack) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", loaded.http_port, timeout=30)
    connection.request("GET", "/loadtest/stream/2?now&fail")
    answer = connection.getresponse()

    assert answer.readline() == b"0\n"
    first = time.monotonic()
    assert answer.readline() == b"1\n"
    # The pieces arrive a second apart, unless a proxy buffers them.
    assert time.monotonic() - first > 0.5
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


@pytest.mark.parametrize("server", ["server1", "server2"])
def test_response_arrives_when_the_view_reads_no_body(
    uwsgi_and_gunicorn: Stack, server: str
) -> None:
    results = request_all(
        uwsgi_and_gunicorn, server, [{"path": "/loadtest/refuse", "body": 10_000_000}] * 20
    )

    assert [status for status, *_ in results] == [403] * 20
