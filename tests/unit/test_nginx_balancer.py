"""The list of servers that nginx as the load balancer reads, and how it is kept true."""

import importlib.util
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ops.environment.contract import VARIABLES
from tests.tree import ROOT

TWO = {"set1": ("server1", 7999), "set2": ("server2", 7999)}


@pytest.fixture(scope="module")
def follow() -> Iterator[ModuleType]:
    """The script, which is no module of the project's packages."""
    path = ROOT / "variants/nginx-balancer/follow.py"
    spec = importlib.util.spec_from_file_location("nginx_balancer_follow", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # Where its dataclasses look their annotations up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_methods_are_the_contract_s(follow: ModuleType) -> None:
    variable = VARIABLES["NGINX_BALANCE"]

    assert tuple(follow.METHODS) == variable.choices
    assert next(iter(follow.METHODS)) == variable.default


def test_the_list_names_the_method_and_each_server_where_it_is(follow: ModuleType) -> None:
    servers = follow.Servers(TWO)
    servers.found("set2", "10.0.0.2")
    servers.found("set1", "10.0.0.1")

    assert servers.block("least_conn") == (
        "upstream servers {\n"
        "    least_conn;\n"
        f"    server 10.0.0.1:7999 {follow.SERVER_OPTIONS};  # set1\n"
        f"    server 10.0.0.2:7999 {follow.SERVER_OPTIONS};  # set2\n"
        "}\n"
        "upstream relays {\n"
        "    least_conn;\n"
        f"    server unix:/run/nginx-balancer/set1.sock {follow.SERVER_OPTIONS};\n"
        f"    server unix:/run/nginx-balancer/set2.sock {follow.SERVER_OPTIONS};\n"
        "}\n"
    )


def test_nginx_can_start_before_any_server_is_known(follow: ModuleType) -> None:
    block = follow.Servers(TWO).block("round_robin")

    assert block.split("\n")[:3] == ["upstream servers {", f"    {follow.NOBODY}", "}"]


def test_server_that_hangs_is_down_until_it_answers(follow: ModuleType) -> None:
    servers = follow.Servers(TWO)
    servers.found("set1", "10.0.0.1")
    servers.moved.clear()

    servers.note_hang("set1", hangs=True)
    assert servers.moved.is_set()
    assert "server 10.0.0.1:7999 down;" in servers.block("round_robin")

    servers.moved.clear()
    servers.note_hang("set1", hangs=True)
    assert not servers.moved.is_set()

    servers.note_hang("set1", hangs=False)
    assert servers.moved.is_set()
    assert "down" not in servers.block("round_robin")


def test_only_a_server_that_accepts_and_says_nothing_hangs(
    follow: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "CHECK_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = "{}:{}".format(*server.getsockname())
        # The kernel accepts.
        assert follow.is_silent(place)
    assert not follow.is_silent(place)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 503 Service Unavailable\r\n\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        assert not follow.is_silent("{}:{}".format(*server.getsockname()))

    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as server,
        # The only one for which there is room: the next one waits for its connection.
        socket.create_connection(server.getsockname()),
    ):
        assert not follow.is_silent("{}:{}".format(*server.getsockname()))


def test_a_server_that_has_moved_is_told_once(follow: ModuleType) -> None:
    servers = follow.Servers(TWO)
    servers.found("set1", "10.0.0.1")
    assert servers.moved.is_set()
    servers.moved.clear()

    servers.found("set1", "10.0.0.1")
    assert not servers.moved.is_set()

    servers.found("set1", "10.0.0.9")
    assert servers.moved.is_set()
    assert "10.0.0.9:7999" in servers.block("ip_hash")
    assert "10.0.0.1:7999" not in servers.block("ip_hash")


def test_an_address_that_another_server_has_now_is_its_own_alone(follow: ModuleType) -> None:
    """Docker gives a stopped container's address to the next that starts."""
    servers = follow.Servers(TWO)
    servers.found("set1", "10.0.0.1")
    servers.found("set2", "10.0.0.2")
    servers.found("set1", "10.0.0.2")

    assert servers.places == {"set1": "10.0.0.2:7999"}


def test_two_servers_of_one_machine_are_told_apart_by_port(follow: ModuleType) -> None:
    servers = follow.Servers({"a": ("host", 7999), "b": ("host", 8999)})
    servers.found("a", "10.0.0.1")
    servers.found("b", "10.0.0.1")

    assert len(servers.places) == 2


def test_a_server_that_is_stopped_keeps_its_place(
    follow: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is gone with it; taking it off the list would be a reload for nothing."""
    servers = follow.Servers(TWO)
    servers.found("set1", "10.0.0.1")
    servers.moved.clear()

    def unknown(*arguments: object) -> None:
        raise OSError("no such name")

    monkeypatch.setattr(follow.socket, "getaddrinfo", unknown)
    follow.look_up(servers, "set1")

    assert servers.places == {"set1": "10.0.0.1:7999"}
    assert not servers.moved.is_set()


def test_running_requests_have_the_grace_period_from_sigterm_on(
    follow: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[tuple[str, ...]] = []
    signals: list[int] = []
    handlers: dict[int, Any] = {}

    class Process:
        def __init__(self, command: tuple[str, ...]) -> None:
            commands.append(command)

        def send_signal(self, number: int) -> None:
            signals.append(number)

        def wait(self) -> int:
            handlers[signal.SIGTERM](signal.SIGTERM, None)
            return 7

    for name in ("NGINX_BALANCE", "SERVER_COUNT", "BALANCER_GRACE_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SERVER_COUNT", "0")
    monkeypatch.setenv("BALANCER_GRACE_SECONDS", "41")
    monkeypatch.setattr(follow, "LIST", tmp_path / "servers.conf")
    monkeypatch.setattr(follow, "keep_current", lambda *_: None)
    monkeypatch.setattr(follow.subprocess, "Popen", Process)
    monkeypatch.setattr(follow.signal, "signal", handlers.__setitem__)

    assert follow.main() == 7
    ((*_, option, grace),) = commands
    assert (option, grace) == ("-g", "worker_shutdown_timeout 41s;")
    # nginx's own words for it: https://nginx.org/en/docs/control.html
    assert signals == [signal.SIGQUIT]


def test_a_method_that_there_is_not_is_refused_by_name(
    follow: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NGINX_BALANCE", "random")

    assert follow.main() == 2
    assert "'random' is none of: round_robin, least_conn, ip_hash" in capsys.readouterr().err
