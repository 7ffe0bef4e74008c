"""The servers on the status page; each test server is a real HTTP server."""

import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from pytest_django import Settings

from ops.status import servers
from ops.status.servers import ServerEntry, check_servers
from tests.ports import free_port


class Neighbour(ThreadingHTTPServer):
    """A server with the status that the test sets."""

    status = 200
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.requested: list[str] = []
        self.resumed = Event()
        self.resumed.set()
        Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    """One request to it."""

    server: Neighbour

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        self.server.resumed.wait(30)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def neighbour(settings: Settings, tmp_path: Path) -> Iterator[Neighbour]:
    """Start set2 next to this server, set1."""
    server = Neighbour()
    settings.PROFILE = "set1"
    settings.DRAIN_FILE = tmp_path / "drain"
    # Nothing listens at set1's address: this server is not probed.
    settings.SERVERS = [f"set1=127.0.0.1:{free_port()}", f"set2=127.0.0.1:{server.server_port}"]
    yield server
    server.resumed.set()
    server.shutdown()
    server.server_close()


def states() -> dict[str, tuple[str, str]]:
    """Return each server's state and why."""
    return {result.server.name: (result.state, result.detail) for result in check_servers()}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (200, ("up", "")),
        (404, ("draining", "")),
        (502, ("down", "/readyz answers 502")),
        (301, ("down", "/readyz answers 301")),
    ],
)
def test_server_state_follows_the_status_of_readyz(
    neighbour: Neighbour, status: int, state: tuple[str, str]
) -> None:
    neighbour.status = status

    assert states() == {"set1": ("up", ""), "set2": state}
    assert neighbour.requested == ["/readyz"]


def test_this_server_is_draining_while_its_drain_file_exists(
    neighbour: Neighbour, settings: Settings
) -> None:
    settings.DRAIN_FILE.touch()

    assert states()["set1"] == ("draining", "")


def test_server_that_cannot_be_reached_is_down(neighbour: Neighbour, settings: Settings) -> None:
    settings.SERVERS = [f"set2=127.0.0.1:{free_port()}", "set3=no-such-host.invalid:7999"]

    assert states()["set2"] == ("down", "not reached")
    assert states()["set3"][0] == "down"


def test_server_that_hangs_is_down_after_the_probe_timeout(neighbour: Neighbour) -> None:
    neighbour.resumed.clear()

    started = time.monotonic()

    assert states()["set2"] == ("down", "no answer within 1 s")
    assert time.monotonic() - started < 4 * servers.PROBE_SECONDS


def test_hanging_name_server_is_queried_once_and_does_not_delay_the_probe(
    neighbour: Neighbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system lookup has no timeout, and a thread in it cannot be ended."""
    requested: list[str] = []
    original = socket.getaddrinfo

    def slow(host: str, *args: Any, **options: Any) -> Any:
        requested.append(host)
        neighbour.resumed.wait(30)
        return original(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    neighbour.resumed.clear()

    started = time.monotonic()
    result = [states()["set2"] for _ in range(3)]

    assert result == [("down", "no answer within 1 s")] * 3
    assert time.monotonic() - started < 8 * servers.PROBE_SECONDS
    assert requested == ["127.0.0.1"]


def test_servers_are_probed_in_parallel(neighbour: Neighbour, settings: Settings) -> None:
    with socket.socket() as silent:
        # It accepts connections and never answers.
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        dead = [f"dead{number}=127.0.0.1:{port}" for number in range(6)]
        settings.SERVERS = [*dead, settings.SERVERS[-1]]

        started = time.monotonic()
        result = check_servers()

    assert [one.state for one in result] == ["down"] * 6 + ["up"]
    assert time.monotonic() - started < 3 * servers.PROBE_SECONDS


def test_probe_result_is_reused_for_many_visitors(neighbour: Neighbour) -> None:
    for _ in range(20):
        servers.RECENT.get()

    assert neighbour.requested == ["/readyz"]


def test_this_server_is_listed_when_servers_is_empty(settings: Settings) -> None:
    settings.SERVERS, settings.PROFILE = [], "alone"

    assert states() == {"alone": ("up", "")}


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("set1=server1:7999", ServerEntry("set1", "server1", 7999)),
        ("b=10.0.0.7:80", ServerEntry("b", "10.0.0.7", 80)),
        ("v6=[::1]:7999", ServerEntry("v6", "::1", 7999)),
    ],
)
def test_server_entry_is_parsed_into_name_host_and_port(text: str, server: ServerEntry) -> None:
    assert ServerEntry.parse(text) == server
