"""What the proxies log: one JSON line for a request, and errors only of what went wrong."""

import json
import select
import socket
from contextlib import ExitStack

import pytest

from tests.stack.bench import PORTS, SERVERS, Bench
from tests.waiting import eventually


def test_haproxy_logs_only_json_lines(bench: Bench) -> None:
    """A long path is truncated; a connection without a request is not logged."""
    before = len(bench.log("haproxy"))
    socket.create_connection(("127.0.0.1", bench.ports["haproxy"])).close()
    # The health check of its container, its stats page and its metrics are no visits.
    bench.exec("haproxy", "bash", "/config/healthcheck")
    bench.rows()
    metrics = r"exec 3<>/dev/tcp/127.0.0.1/9145; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3"
    bench.exec("haproxy", "bash", "-c", metrics)
    path = f"/who/{'x' * 4000}"
    assert bench.get("haproxy", path).text in SERVERS

    def written() -> list[str]:
        return bench.log("haproxy")[before:]

    (line,) = eventually(written, seconds=5, what="the request is logged")
    logged = json.loads(line)["path"]
    assert path.startswith(logged) and len(logged) > 1000


def test_apache_reports_no_errors_of_its_start_and_of_valid_requests(bench: Bench) -> None:
    """Such as of a path with two slashes."""
    before = bench.errors("apache")
    with socket.create_connection(("127.0.0.1", bench.ports["apache"]), timeout=10) as client:
        client.sendall(b"GET //who HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in client.recv(100)

    assert bench.errors("apache") == before
    assert "resuming normal operations" in before[0]


def test_error_of_apache_names_its_request(bench: Bench) -> None:
    identity = "apache-unanswered"
    answer = bench.get("apache", "/unanswered", headers={"X-Request-ID": identity})

    assert answer.status_code == 502
    assert [line for line in bench.errors("apache") if f" request_id={identity} " in line]


def test_long_bodies_over_the_limit_of_nginx_balancer_are_no_errors(bench: Bench) -> None:
    before = len(bench.errors("nginx-balancer"))
    head = b"POST /who HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n"
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", bench.ports["nginx-balancer"]), timeout=9)
            )
            for _ in range(23)
        ]
        for client in clients:
            client.sendall(head)

        def answered() -> list[socket.socket]:
            return select.select(clients, [], [], 0)[0]

        eventually(lambda: len(answered()) >= 3, seconds=8, what="three clients have an answer")
        answers = [client.recv(12) for client in answered()]

    assert answers == [b"HTTP/1.1 503"] * 3

    assert bench.errors("nginx-balancer")[before:] == []


@pytest.mark.parametrize("proxy", PORTS)
def test_access_logs_have_no_token_of_a_password_reset_link(bench: Bench, proxy: str) -> None:
    """Django's own path, and django-allauth's."""
    token = "cq8o2z-" + "0123456789abcdef" * 2
    for path in (f"/accounts/reset/MQ/{token}/", f"/password/reset/key/1-{token}/?next=/a"):
        bench.get(proxy, path)

    def logged() -> list[str]:
        # The test's own servers log in another form.
        lines = [line for line in bench.log(proxy) if line.startswith("{") and "reset" in line]
        assert len(lines) >= 2, lines
        return lines

    lines = eventually(logged, seconds=10, what="both requests are logged")
    paths = {json.loads(line)["path"] for line in lines}
    assert paths == {"/accounts/reset/MQ/***/", "/password/reset/key/1-***/"}
    assert token not in "".join(lines)
