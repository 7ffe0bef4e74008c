"""The time limit of a request, however its body came and however its response is sent."""

import http.client
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chaos.reliability import Figures
from tests.stack.compose import Stack
from tests.tree import ROOT
from tests.unit.config_files import limits

LIMIT_SECONDS = float(limits()["REQUEST_SECONDS"])
# gunicorn checks once a second, and a busy machine is late.
LATE_SECONDS = 4
# Longer than the limit allows.
PIECES = 30
GUNICORN = {"APP_SERVER": "gunicorn"}
# Inside a container: requests to one server at once, each with its status, its seconds and whether
# the response was cut off. HAProxy would choose the server.
ASK = (ROOT / "tests" / "chaos" / "ask.py").read_text()
HANGING = [
    {"path": "/loadtest/hang", "body": 40_000},
    {"path": "/loadtest/hang", "body": 300_000, "chunked": True},
]
STREAMS = [{"path": f"/loadtest/stream/{PIECES}{query}"} for query in ("", "?now")]
ENDS = [
    {"path": "/loadtest/stream/1"},
    {"path": "/loadtest/stream/1?now"},
    {"path": "/loadtest/stream/1?fail"},
    {"path": "/loadtest/stream/1?now&fail"},
]


@pytest.fixture(scope="module")
def mixed(loaded: Stack) -> Iterator[Stack]:
    """The loaded stack, server2 with gunicorn; as it was afterwards."""
    loaded.compose("up", "--detach", "--wait", "--no-deps", "server2", environment=GUNICORN)
    try:
        loaded.wait_for_both()
        yield loaded
    finally:
        loaded.compose("up", "--detach", "--wait", "--no-deps", "server2")
        loaded.wait_for_both()


def ask(
    stack: Stack, server: str, cases: Sequence[Mapping[str, object]]
) -> list[tuple[int, float, bool]]:
    """Send requests to one server at once: each one's status, seconds, whether it was cut."""
    told = stack.run_in(server, "python", "-c", ASK, json.dumps(cases))
    found: list[tuple[int, float, bool]] = json.loads(told.splitlines()[-1])
    return found


def test_request_with_body_and_stream_end_at_the_limit(mixed: Stack, figures: Figures) -> None:
    """Two at a time, as many as a server has workers."""
    servers = ("server1", "server2")
    with ThreadPoolExecutor(len(servers)) as pool:
        hanging = list(pool.map(lambda server: ask(mixed, server, HANGING), servers))
        streams = list(pool.map(lambda server: ask(mixed, server, STREAMS), servers))

    ended = [request for found in hanging for request in found]
    cut = [request for found in streams for request in found]
    longest = max(took for _, took, _ in [*ended, *cut])
    figures.note(
        "a view that hangs after bodies of 40 kB and 300 kB (in chunks); streams of "
        f"{PIECES} s; uWSGI and gunicorn",
        f"each ends at the limit of {LIMIT_SECONDS:g} s; every cut stream is cut for its client",
        requests=len(ended) + len(cut),
        failed=len(ended) + len(cut),
        longest=longest,
        seen=f"{sum(was_cut for *_, was_cut in cut)} of {len(cut)} streams seen as cut",
    )
    assert [status for status, *_ in ended] == [502] * len(ended)
    assert [(status, was_cut) for status, _, was_cut in cut] == [(200, True)] * len(cut)
    assert longest < LIMIT_SECONDS + LATE_SECONDS


@pytest.mark.parametrize("server", ["server1", "server2"])
def test_a_stream_that_fails_is_cut_and_one_that_ends_is_whole(mixed: Stack, server: str) -> None:
    found = ask(mixed, server, ENDS)

    assert [(status, cut) for status, _, cut in found] == [
        *((200, False), (200, False)),
        *((200, True), (200, True)),
    ]


def test_haproxy_passes_each_piece_on_and_the_cut_as_well(loaded: Stack) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", loaded.http_port, timeout=30)
    connection.request("GET", "/loadtest/stream/2?now&fail")
    answer = connection.getresponse()

    assert answer.readline() == b"0\n"
    first = time.monotonic()
    assert answer.readline() == b"1\n"
    # A second lies between the two where neither is kept back.
    assert time.monotonic() - first > 0.5
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


@pytest.mark.parametrize("server", ["server1", "server2"])
def test_response_arrives_although_the_view_leaves_a_long_body(mixed: Stack, server: str) -> None:
    found = ask(mixed, server, [{"path": "/loadtest/refuse", "body": 10_000_000}] * 20)

    assert [status for status, *_ in found] == [403] * 20
