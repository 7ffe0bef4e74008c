"""The list of servers of the nginx balancer, and how it follows changes."""

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
    """Import the script, which is in no package."""
    path = ROOT / "variants/nginx-balancer/follow.py"
    spec = importlib.util.spec_from_file_location("nginx_balancer_follow", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look up their annotations in sys.modules.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_nginx_balance_methods_match_the_contract(follow: ModuleType) -> None:
    variable = VARIABLES["NGINX_BALANCE"]

    assert tuple(follow.METHODS) == variable.choices
    assert next(iter(follow.METHODS)) == variable.default


def test_nginx_upstream_block_has_the_method_and_each_server_address(follow: ModuleType) -> None:
    servers = follow.Servers(TWO)
    servers.resolved("set2", "10.0.0.2")
    servers.resolved("set1", "10.0.0.1")

    assert servers.block("least_conn") == (
        "upstream servers {\n"
        "    least_conn;\n"
        f"    server 10.0.0.1:7999 {follow.SERVER_OPTIONS};\n"
        f"    server 10.0.0.2:7999 {follow.SERVER_OPTIONS};\n"
        f"    server 10.0.0.1:7999 {follow.LAST_RESORT};\n"
        f"    server 10.0.0.2:7999 {follow.LAST_RESORT};\n"
        "}\n"
        "upstream relays {\n"
        "    least_conn;\n"
        f"    server unix:/run/nginx-balancer/set1.sock {follow.SERVER_OPTIONS};\n"
        f"    server unix:/run/nginx-balancer/set2.sock {follow.SERVER_OPTIONS};\n"
        f"    server unix:/run/nginx-balancer/set1.sock {follow.LAST_RESORT};\n"
        f"    server unix:/run/nginx-balancer/set2.sock {follow.LAST_RESORT};\n"
        "}\n"
    )


def test_nginx_balancer_starts_before_any_server_is_known(follow: ModuleType) -> None:
    block = follow.Servers(TWO).block("round_robin")

    assert block.split("\n")[:3] == ["upstream servers {", f"    {follow.PLACEHOLDER}", "}"]


def test_nginx_upstream_server_that_hangs_is_down_until_it_answers(follow: ModuleType) -> None:
    servers = follow.Servers(TWO)
    servers.resolved("set1", "10.0.0.1")
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


def test_only_a_server_that_accepts_without_a_response_hangs(
    follow: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "CHECK_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = "{}:{}".format(*server.getsockname())
        # The kernel accepts the connection.
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
        # It fills the backlog: the next connection is not accepted.
        socket.create_connection(server.getsockname()),
    ):
        assert not follow.is_silent("{}:{}".format(*server.getsockname()))


def test_moved_server_causes_one_nginx_reload(follow: ModuleType) -> None:
    servers = follow.Servers(TWO)
    servers.resolved("set1", "10.0.0.1")
    assert servers.moved.is_set()
    servers.moved.clear()

    servers.resolved("set1", "10.0.0.1")
    assert not servers.moved.is_set()

    servers.resolved("set1", "10.0.0.9")
    assert servers.moved.is_set()
    assert "10.0.0.9:7999" in servers.block("ip_hash")
    assert "10.0.0.1:7999" not in servers.block("ip_hash")


def test_address_used_by_another_server_is_removed_from_the_former(follow: ModuleType) -> None:
    """Docker assigns the address of a stopped container to the next one that starts."""
    servers = follow.Servers(TWO)
    servers.resolved("set1", "10.0.0.1")
    servers.resolved("set2", "10.0.0.2")
    servers.resolved("set1", "10.0.0.2")

    assert servers.addresses == {"set1": "10.0.0.2:7999"}


def test_servers_on_one_host_are_distinguished_by_port(follow: ModuleType) -> None:
    servers = follow.Servers({"a": ("host", 7999), "b": ("host", 8999)})
    servers.resolved("a", "10.0.0.1")
    servers.resolved("b", "10.0.0.1")

    assert len(servers.addresses) == 2


def test_stopped_server_keeps_its_last_address(
    follow: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name no longer resolves; removing it would be a needless reload."""
    servers = follow.Servers(TWO)
    servers.resolved("set1", "10.0.0.1")
    servers.moved.clear()

    def unknown(*arguments: object) -> None:
        raise OSError("no such name")

    monkeypatch.setattr(follow.socket, "getaddrinfo", unknown)
    follow.look_up(servers, "set1")

    assert servers.addresses == {"set1": "10.0.0.1:7999"}
    assert not servers.moved.is_set()


def test_nginx_balancer_gives_requests_the_grace_period_after_sigterm(
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
    # Graceful shutdown: https://nginx.org/en/docs/control.html
    assert signals == [signal.SIGQUIT]


def test_unknown_nginx_balance_method_is_refused(
    follow: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NGINX_BALANCE", "random")

    assert follow.main() == 2
    assert "'random' is none of: round_robin, least_conn, ip_hash" in capsys.readouterr().err
