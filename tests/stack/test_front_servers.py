"""How the proxies handle requests and responses: headers, queueing, retries, stops."""

import http.client
import json
import re
import shutil
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.stack.bench import PORTS, SERVERS, Bench, container
from tests.stack.compose import docker
from tests.stack.test_trusted_proxies import haproxy
from tests.waiting import eventually
from tools.stackctl.balancer.apache import MEMBER


def test_nginx_forwards_requests_after_one_without_a_response(bench: Bench) -> None:
    """After two failed tries nginx must not mark the application as down."""
    assert bench.get("nginx", "/page/unanswered").status_code == 502

    assert [bench.get("nginx", "/who").status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("proxy", PORTS)
def test_proxies_do_not_reveal_their_version(bench: Bench, proxy: str) -> None:
    answer = bench.get(proxy, "/who", headers={"Expect": "x", "Content-Length": "9" * 12})

    assert answer.status_code >= 400
    assert not re.search(r"\d", answer.headers.get("Server", "")), answer.headers


def test_apache_refuses_trace_requests(bench: Bench) -> None:
    answer = bench.request("TRACE", "apache", "/echo", headers={"Cookie": "secret"})

    assert answer.status_code == 405
    assert "secret" not in answer.text
    assert not [line for line in bench.received() if line.startswith("TRACE")]


def test_member_command_removes_and_restores_a_server_of_apache(bench: Bench) -> None:
    """`stackctl drain` and `ready` use it; without an argument it counts running requests."""
    try:
        bench.exec("apache", MEMBER, "server1", "off")
        bench.wait_until_balanced("apache", "server2")
        # A probe of HAProxy may have been running there.
        eventually(
            lambda: bench.exec("apache", MEMBER, "server1").strip() == "0",
            seconds=5,
            what="server1 has no request",
        )
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(bench.get, "apache", "/sleep/2?member")
            eventually(
                lambda: bench.exec("apache", MEMBER, "server2").strip() == "1",
                seconds=5,
                what="server2 has a request",
            )
            assert slow.result().text == "slept"
    finally:
        bench.exec("apache", MEMBER, "server1", "on")
    bench.wait_until_balanced("apache", *SERVERS)


def test_request_of_a_client_that_leaves_the_queue_reaches_no_server(bench: Bench) -> None:
    """All slots are occupied: those of two servers, and those of Apache."""
    with ThreadPoolExecutor(8) as pool:
        busy = [pool.submit(bench.get, "haproxy", "/sleep/1") for _ in range(6)]
        eventually(
            lambda: sum("/sleep/1 " in line for line in bench.received()) >= 6,
            seconds=5,
            what="all slots are occupied",
        )
        with socket.create_connection(("127.0.0.1", bench.ports["haproxy"])) as leaving:
            leaving.sendall(b"GET /who/left HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert {one.result().status_code for one in busy} == {200}
    # A later request is served, so the first one would have been too.
    assert bench.get("haproxy", "/who/came").status_code == 200

    assert [line for line in bench.received() if "/who/left" in line] == []


@pytest.mark.parametrize("proxy", ["haproxy", "nginx-balancer", "apache"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_stopping_proxy_finishes_running_requests(bench: Bench, proxy: str, method: str) -> None:
    path = f"/sleep/2?{proxy}-{method}"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.request, method, proxy, path)
        eventually(
            lambda: any(path in line for line in bench.received()),
            seconds=5,
            what="it is running",
        )
        # The signal that Compose sends.
        signal = "SIGTERM" if proxy != "haproxy" else "SIGUSR1"
        docker("kill", "--signal", signal, container(proxy))
        assert running.result().text == "slept"
    try:
        # HAProxy's hard-stop-after also closes connections of earlier tests.
        eventually(lambda: has_ended(proxy), seconds=70, what=f"{proxy} has ended")
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container(proxy)) == "0"
    finally:
        docker("start", container(proxy))
    bench.wait_for_all()


def test_stopping_haproxy_accepts_connections_until_visitors_have_none_open(bench: Bench) -> None:
    """Its port is free only for the next container: refused meanwhile is lost."""
    kept = http.client.HTTPConnection("127.0.0.1", bench.ports["haproxy"], timeout=30)

    def ask() -> str | None:
        kept.request("GET", "/who")
        answer = kept.getresponse()
        answer.read()
        return answer.getheader("Connection")

    assert ask() is None
    docker("kill", "--signal", "SIGUSR1", container("haproxy"))
    try:
        # A new visitor is served, but keeps no connection.
        eventually(
            lambda: bench.get("haproxy", "/who").headers.get("Connection") == "close",
            seconds=5,
            what="HAProxy closes connections",
        )
        assert not has_ended("haproxy")
        assert ask() == "close"
        eventually(lambda: has_ended("haproxy"), seconds=70, what="HAProxy has ended")
    finally:
        docker("start", container("haproxy"))
    bench.wait_for_all()


def test_stopping_haproxy_waits_for_none_of_its_connections_to_itself(
    bench: Bench, tree: Path
) -> None:
    """Once it listens no more, until the next container does, visitors are refused."""
    with haproxy("stopping", tree) as port:

        def refuses() -> bool:
            try:
                requests.get(f"http://127.0.0.1:{port}/who", timeout=10)
            except requests.ConnectionError:
                return True
            return False

        # Each of these visitors leaves a kept connection of HAProxy to itself.
        assert not refuses()
        docker("kill", "--signal", "SIGUSR1", container("stopping"))
        eventually(refuses, seconds=30, what="HAProxy listens no more")
        # Less than `timeout http-keep-alive`.
        eventually(lambda: has_ended("stopping"), seconds=6, what="HAProxy has ended")


CONNECTION_HEADER = """
from http.client import HTTPConnection
connection = HTTPConnection("haproxy", {port})
connection.request("GET", "{path}")
print(connection.getresponse().getheader("Connection"))
"""


@pytest.mark.parametrize(("port", "path"), [(9145, "/metrics"), (8888, "/stats")])
def test_stopping_haproxy_waits_for_no_connection_of_prometheus_and_operators(
    bench: Bench, port: int, path: str
) -> None:
    """Prometheus would keep one; until it ends, visitors are refused."""
    code = CONNECTION_HEADER.format(port=port, path=path)

    assert bench.exec("server1", "python", "-c", code) == "close"


def test_clients_that_keep_their_connections_keep_no_visitor_out(
    bench: Bench, tree: Path, tmp_path: Path
) -> None:
    for folder in ("haproxy", "templates", "nginx"):
        shutil.copytree(tree / folder, tmp_path / folder)
    configuration = tmp_path / "haproxy" / "haproxy.cfg"
    text = configuration.read_text()
    for limit in ("maxconn 4000", "fe_conn gt 3000"):
        assert text.count(limit) == 1
        text = text.replace(limit, limit.removesuffix("00"))
    configuration.write_text(text)

    with haproxy("crowded", tmp_path) as port, ExitStack() as opened:
        answers = []
        for _ in range(60):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            opened.callback(client.close)
            client.request("GET", "/who")
            answers.append(client.getresponse())
            answers[-1].read()

    assert {answer.status for answer in answers} == {200}
    kept = [answer.getheader("Connection") is None for answer in answers]
    # Of the forty that there may be, HAProxy keeps thirty.
    assert kept == [True] * 30 + [False] * 30


def has_ended(service: str) -> bool:
    """Return whether a container has ended."""
    return docker("inspect", "--format", "{{.State.Running}}", container(service)) == "false"


def test_haproxy_keeps_connections_to_itself_only_for_repeatable_requests(bench: Bench) -> None:
    """A kept connection can close in the moment that a POST is sent."""
    url = f"http://127.0.0.1:{bench.ports['haproxy']}/echo"

    def connections(backend: str) -> tuple[int, int]:
        (row,) = (
            row for row in bench.rows() if (row["pxname"], row["svname"]) == (backend, "itself")
        )
        return int(row["connect"]), int(row["reuse"])

    def added(ask: Callable[..., requests.Response], backend: str) -> tuple[int, int]:
        new, kept = connections(backend)
        for _ in range(10):
            assert ask(url, timeout=10).status_code == 200
        new_after, kept_after = connections(backend)
        return new_after - new, kept_after - kept

    # Of ten clients, and of one.
    assert added(requests.get, "retry_kept_backend")[1] >= 9
    with requests.Session() as client:
        assert added(client.post, "retry_backend") == (10, 0)


@pytest.mark.parametrize(
    ("proxy", "name"), [("nginx", "_"), ("nginx-balancer", "_"), ("apache", "apache")]
)
def test_request_without_a_host_reaches_no_site(bench: Bench, proxy: str, name: str) -> None:
    """`_` is no valid name. Without one uWSGI would put its container's name in its place."""
    with socket.create_connection(("127.0.0.1", bench.ports[proxy]), timeout=10) as connection:
        connection.sendall(b"GET /echo HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    assert re.findall(r"(?im)^host: (\S*)\r?$", answer) == [name]


@pytest.mark.parametrize("proxy", PORTS)
def test_redirect_of_a_server_is_forwarded_unchanged(bench: Bench, proxy: str) -> None:
    answer = bench.get(proxy, "/moved", allow_redirects=False)

    assert (answer.status_code, answer.headers["Location"]) == (
        302,
        "http://server1:7999/elsewhere",
    )


def test_haproxy_sends_a_server_at_most_one_request_per_worker(bench: Bench) -> None:
    """HAProxy queues the others; its three servers have two workers each."""
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(bench.get, "haproxy", "/sleep/0.7?limit") for _ in range(8)]
        answers = [one.result() for one in running]
    assert {answer.status_code for answer in answers} == {200}
    ids = {answer.headers["X-Request-ID"] for answer in answers}

    def waits() -> list[int]:
        records = [json.loads(line) for line in bench.log("haproxy") if line.startswith('{"time')]
        queue_times = sorted(line["queue_ms"] for line in records if line["request_id"] in ids)
        return queue_times if len(queue_times) == 8 else []

    queue_times = eventually(waits, seconds=5, what="the requests are logged")
    assert sum(wait > 100 for wait in queue_times) == 2, queue_times


def test_balancers_retry_refused_connections_on_the_other_server(bench: Bench) -> None:
    """A server that refuses a connection has received nothing, so writes are retried too.

    Except through HAProxy with Apache, which times out once for each server that does not answer.
    """
    docker("stop", "--timeout", "0", container("server1"))
    try:
        sent = [("haproxy", "GET"), ("apache", "POST"), ("nginx-balancer", "POST")]
        # GETs use the relays of nginx, POSTs do not.
        sent.append(("nginx-balancer", "GET"))
        for proxy, method in sent:
            answers = [bench.request(method, proxy, f"/who/{n}").text for n in range(6)]
            assert answers == ["server2"] * 6, (proxy, method)
    finally:
        docker("start", container("server1"))
    bench.wait_for_all()


def test_haproxy_ends_requests_of_a_server_each_time_it_hangs(bench: Bench) -> None:
    """Others answer them long before `timeout server`."""
    for _ in range(2):
        docker("pause", container("server1"))
        try:
            with ThreadPoolExecutor(6) as clients:
                began = time.monotonic()
                answers = list(
                    clients.map(lambda _: bench.get("haproxy", "/who", timeout=20).text, range(6))
                )
                # Two checks of files, each with a limit of its own, and not that of pages.
                assert time.monotonic() - began < 6
        finally:
            docker("unpause", container("server1"))
        assert set(answers) == {"server2"}
        eventually(
            lambda: bench.states() == {"UP"}, seconds=20, what="HAProxy marks all servers as up"
        )
    bench.wait_for_all()
