"""The clients of the load tests: when they send requests, and over which connections."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat

import pytest

from tests.chaos.load import Client, ClosedLoop, Load, Request
from tests.waiting import eventually

PAGE = Request("GET", "/profile/")


class Server(ThreadingHTTPServer):
    """A server that answers once `answering` is set."""

    def __init__(self) -> None:
        self.answering = threading.Event()
        self.ports: list[int] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """Records the port of each request, and waits before the answer."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.ports.append(self.client_address[1])
        self.server.answering.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.answering.set()
        running.shutdown()


def wait_for_requests(server: Server, count: int) -> None:
    eventually(lambda: len(server.ports) >= count, seconds=20, what=f"{count} requests")


def test_client_sends_requests_while_earlier_ones_are_unanswered(server: Server) -> None:
    with Load(server.server_port, [Client(repeat(PAGE), interval=0.01)]) as load:
        wait_for_requests(server, 3)
        assert not load.outcomes
        server.answering.set()

    assert len(load.outcomes) == len(server.ports)
    assert not load.failed
    assert len(set(server.ports[:3])) == 3


def test_client_keeps_one_connection_for_its_next_request(server: Server) -> None:
    client = Client(repeat(PAGE), interval=0.01)
    with Load(server.server_port, [client]) as load:
        wait_for_requests(server, 3)
        server.answering.set()
        eventually(
            lambda: len(set(server.ports[-5:])) == 1 and len(client.idle) <= 1,
            seconds=20,
            what="one connection carries all requests",
        )
    assert not load.failed
    assert not client.idle


def test_client_without_keep_alive_opens_a_connection_for_each_request(server: Server) -> None:
    server.answering.set()
    with Load(server.server_port, [Client(repeat(PAGE), keep_alive=False, interval=0.01)]) as load:
        wait_for_requests(server, 3)

    assert not load.failed
    assert len(set(server.ports)) == len(server.ports)


def test_closed_loop_has_one_request_running(server: Server) -> None:
    server.answering.set()
    with Load(server.server_port, [ClosedLoop(repeat(PAGE))]) as load:
        wait_for_requests(server, 20)

    assert not load.failed
    ends = [outcome.ended for outcome in load.outcomes]
    starts = [outcome.started for outcome in load.outcomes]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
