"""The servers that the status page watches; each here is an HTTP server of its own."""

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
    """A server that answers as the test wants."""

    status = 200
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str] = []
        self.go_on = Event()
        self.go_on.set()
        Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    """One request to it."""

    server: Neighbour

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.go_on.wait(30)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def neighbour(settings: Settings, tmp_path: Path) -> Iterator[Neighbour]:
    """Start set2 next to this server, set1."""
    server = Neighbour()
    settings.PROFILE = "set1"
    settings.DRAIN_FILE = tmp_path / "drain"
    # Nothing listens at set1's address: it must not be asked.
    settings.SERVERS = [f"set1=127.0.0.1:{free_port()}", f"set2=127.0.0.1:{server.server_port}"]
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


def states() -> dict[str, tuple[str, str]]:
    """Return each server's state and why."""
    return {found.server.name: (found.state, found.detail) for found in check_servers()}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (200, ("up", "")),
        (404, ("draining", "")),
        (502, ("down", "/readyz answers 502")),
        (301, ("down", "/readyz answers 301")),
    ],
)
def test_a_server_is_what_its_readyz_says(
    neighbour: Neighbour, status: int, state: tuple[str, str]
) -> None:
    neighbour.status = status

    assert states() == {"set1": ("up", ""), "set2": state}
    assert neighbour.asked == ["/readyz"]


def test_this_server_looks_at_its_own_drain_file(neighbour: Neighbour, settings: Settings) -> None:
    settings.DRAIN_FILE.touch()

    assert states()["set1"] == ("draining", "")


def test_a_server_that_is_not_there_is_down(neighbour: Neighbour, settings: Settings) -> None:
    settings.SERVERS = [f"set2=127.0.0.1:{free_port()}", "set3=no-such-host.invalid:7999"]

    assert states()["set2"] == ("down", "not reached")
    assert states()["set3"][0] == "down"


def test_a_server_that_hangs_is_down_in_time(neighbour: Neighbour) -> None:
    neighbour.go_on.clear()

    started = time.monotonic()

    assert states()["set2"] == ("down", "no answer within 1 s")
    assert time.monotonic() - started < 4 * servers.PROBE_SECONDS


def test_a_name_server_that_hangs_is_asked_once_and_not_waited_for(
    neighbour: Neighbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's look-up takes as long as it likes, and a thread in it cannot be ended."""
    asked: list[str] = []
    original = socket.getaddrinfo

    def slow(host: str, *args: Any, **options: Any) -> Any:
        asked.append(host)
        neighbour.go_on.wait(30)
        return original(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    neighbour.go_on.clear()

    started = time.monotonic()
    found = [states()["set2"] for _ in range(3)]

    assert found == [("down", "no answer within 1 s")] * 3
    assert time.monotonic() - started < 8 * servers.PROBE_SECONDS
    assert asked == ["127.0.0.1"]


def test_many_dead_servers_take_no_longer_than_one_and_hide_none_that_is_up(
    neighbour: Neighbour, settings: Settings
) -> None:
    with socket.socket() as silent:
        # It takes connections and never answers.
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        dead = [f"dead{number}=127.0.0.1:{port}" for number in range(6)]
        settings.SERVERS = [*dead, settings.SERVERS[-1]]

        started = time.monotonic()
        found = check_servers()

    assert [one.state for one in found] == ["down"] * 6 + ["up"]
    assert time.monotonic() - started < 3 * servers.PROBE_SECONDS


def test_the_answers_are_kept_so_that_many_visitors_cause_one_probe(neighbour: Neighbour) -> None:
    for _ in range(20):
        servers.RECENT.get()

    assert neighbour.asked == ["/readyz"]


def test_without_servers_there_is_this_one(settings: Settings) -> None:
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
def test_an_entry_is_read(text: str, server: ServerEntry) -> None:
    assert ServerEntry.parse(text) == server
