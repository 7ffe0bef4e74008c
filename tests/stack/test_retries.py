"""What HAProxy, Apache and nginx as the balancer send on: retries, and a client's own headers."""

import http.client
import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest
import requests

from stackctl_cli.haproxy import CONFIG
from tests.ports import free_port
from tests.stack.compose import Stack, docker
from tests.stack.test_apache import ask
from tests.waiting import eventually

SILENT = """
import socket, sys
server = socket.create_server(("", 7999))
while True:
    connection, _ = server.accept()
    request = connection.recv(65536)
    asked = request.split(b"\\r\\n")[0].decode()
    if "/readyz" in asked:
        connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    else:
        print(asked, flush=True)
    if "/cut" in asked:
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
        connection.sendall(b"3\\r\\none\\r\\n")
    if "/hung" in asked:
        connection.sendall(b"HTTP/1.0 502 Bad Gateway\\r\\nContent-Length: 0\\r\\n\\r\\n")
    if "/echo" in asked:
        connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + request)
    connection.close()
"""


@dataclass(frozen=True)
class Silent:
    """Two servers that accept a request and close without an answer, behind three proxies."""

    container: str
    apache: int
    haproxy: int
    balancer: int
    stats: int

    def seen(self) -> list[str]:
        """Return the request lines that the servers received."""
        return docker("logs", self.container).splitlines()


@pytest.fixture(scope="module")
def silent(production: Stack) -> Iterator[Silent]:
    """The servers, and Apache, HAProxy and nginx before them."""
    name = f"{production.project}-silent"
    found = Silent(name, free_port(), free_port(), free_port(), free_port())
    proxies = [f"{name}-{proxy}" for proxy in ("apache", "haproxy", "balancer")]
    docker("network", "create", name)
    try:
        docker(
            *("run", "--detach", "--name", name, "--network", name),
            *("--network-alias", "server1", "--network-alias", "server2"),
            *("--entrypoint", "python", production.image, "-c", SILENT),
        )
        docker(
            *("run", "--detach", "--name", proxies[0], "--network", name),
            *("--network-alias", "apache", "--publish", f"127.0.0.1:{found.apache}:8002"),
            *("--tmpfs", "/run/apache:uid=10001,gid=10001", "--tmpfs", "/srv/kept/static"),
            *("--user", "10001:10001", "--env", "DRAIN_SECONDS=0"),
            *("--volume", f"{production.tree}/apache:/etc/apache:ro"),
            *("--volume", f"{production.tree}/nginx/errors:/usr/local/errors:ro"),
            *("httpd:2.4", "/etc/apache/start"),
        )
        docker(
            *("run", "--detach", "--name", proxies[1], "--network", name),
            *("--publish", f"127.0.0.1:{found.haproxy}:8080"),
            *("--publish", f"127.0.0.1:{found.stats}:8888"),
            *("--tmpfs", "/var/lib/haproxy:uid=99,gid=99"),
            *("--volume", f"{production.tree}/haproxy:/config:ro"),
            *("--env", "HAPROXY_BALANCE=roundrobin"),
            *("--env", "APACHE=1", "--env", "WEB_CONCURRENCY=2"),
            *("--env", "STATS_USER=u", "--env", "STATS_PASSWORD=p"),
            *("haproxy:3.0", "haproxy", "-f", f"/config/{CONFIG.rpartition('/')[2]}"),
        )
        docker(
            *("run", "--detach", "--name", proxies[2], "--network", name),
            *("--publish", f"127.0.0.1:{found.balancer}:8090"),
            *("--user", "10001:10001", "--tmpfs", "/run/nginx-balancer:uid=10001,gid=10001"),
            *("--volume", f"{production.tree}/nginx-balancer:/config:ro"),
            *("--env", "SERVERS=set1=server1:7999,set2=server2:7999"),
            *("--entrypoint", "/config/follow.py", f"{production.environment['STACK_NAME']}-base"),
        )
        for port in (found.apache, found.haproxy, found.balancer):
            eventually(partial(well, port), seconds=20, what=f"port {port} answers")
        yield found
    finally:
        docker("rm", "--force", name, *proxies)
        docker("network", "rm", name)


def well(port: int) -> bool:
    """Tell whether a balancer reaches a server."""
    with suppress(http.client.HTTPException):
        return bool(ask(port, "GET", "/readyz", {}, "")[0] == 200)
    return False


def test_a_request_that_may_have_arrived_is_never_sent_again(silent: Silent) -> None:
    """Nor one that got an answer, such as of a page that hangs: it would hang the next worker."""
    once = [("POST", f"/order/{number}") for number in range(6)]
    once += [("GET", f"/hung/{number}") for number in range(6)]

    assert [ask(silent.apache, *once[0], {}, "a=b")[0]] == [502]
    assert [ask(silent.haproxy, *what, {}, "")[0] for what in once[1:]] == [502] * len(once[1:])

    seen = [line for line in silent.seen() if "/order/" in line or "/hung/" in line]
    assert sorted(seen) == sorted(f"{method} {path} HTTP/1.1" for method, path in once)


def test_response_that_a_server_cuts_off_is_cut_for_the_client(silent: Silent) -> None:
    # HAProxy asks its three servers in turn, Apache among them.
    for port in (silent.apache, *[silent.haproxy] * 3):
        with pytest.raises(http.client.IncompleteRead):
            ask(port, "GET", "/cut", {}, "")


def test_a_page_whose_answer_never_began_is_requested_again(silent: Silent) -> None:
    """By HAProxy alone, to which Apache says it by a status that no server has."""
    status, headers, body = ask(silent.apache, "GET", "/page/1", {}, "")
    assert status == 502
    assert json.loads(body)["detail"].startswith("The application did not answer")
    assert dict(headers)["retry-after"] == ["5"]
    status, told, same = ask(silent.apache, "GET", "/page/2", {"X-Retry-On": "425"}, "")
    assert (status, same) == (425, body)
    assert dict(told).keys() >= {"retry-after", "cache-control"}
    # Whoever is asked last, of HAProxy's three: no visitor is told that status.
    pages = [f"/page/{number}" for number in (3, 4, 5)]
    assert {ask(silent.haproxy, "GET", page, {}, "")[0] for page in pages} == {502}

    tries = Counter(line.split()[1] for line in silent.seen())
    assert tries["/page/1"] == tries["/page/2"] == 1
    assert min(tries[page] for page in pages) > 1


def test_clients_cannot_request_the_retry_status_of_apache(silent: Silent) -> None:
    """Also for files, whose backend sets no such header."""
    asked = {"X-Retry-On": "425"}

    statuses = {ask(silent.haproxy, "GET", f"/static/{n}", asked, "")[0] for n in range(6)}

    assert statuses <= {502, 503}


FORGED = "203.0.113.9"
TRICKS = {
    "none": "",
    "one header": "Connection: X-Forwarded-For\r\n",
    "a list": "Connection: close, X-Forwarded-For,X-Request-ID , X-Real-IP\r\n",
    "several": "Connection: X-Request-ID\r\nConnection: keep-alive, x-forwarded-for\r\n",
    "not by a proxy": "Connection: Host, Content-Length, Authorization, X-Retry-On\r\n",
    "proto": "Connection: X-Forwarded-Proto, Keep-Alive\r\nX-Forwarded-Proto: https\r\n",
    "kept": "Keep-Alive: X-Forwarded-For\r\nConnection: keep-alive, X-Request-ID\r\n",
    "tabs": "cOnNeCtIoN:\tx-FORWARDED-for\t,\tX-Request-ID\r\n",
    "old": "Proxy-Connection: X-Forwarded-For\r\nTE: trailers\r\nTrailer: X-Forwarded-For\r\n",
    "upgrade": "Connection: Upgrade, X-Forwarded-For\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
    "underscores": f"X_Forwarded_For: {FORGED}\r\nX-Forwarded_For: {FORGED}\r\n",
    "twice": f"x-forwarded-for: {FORGED}\r\nX-FORWARDED-FOR: {FORGED}\r\n",
    "odd bytes": 'Connection: "X-Forwarded-For", ,;X-Request-ID\r\n',
}
SET = ("x-forwarded-for", "x-request-id")


def echo(port: int, trick: str) -> dict[str, list[str]]:
    """Return the headers that a server gets of a request with these."""
    request = (
        f"GET /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token x\r\n"
        f"X-Forwarded-For: {FORGED}\r\nX-Request-ID: forged-by-client\r\n{trick}\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        sent = answer.read().decode()
    headers: dict[str, list[str]] = {}
    for line in sent.partition("\r\n\r\n")[0].split("\r\n")[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return headers


@pytest.mark.parametrize("trick", TRICKS)
def test_no_header_of_a_client_removes_or_forges_what_a_proxy_sets(
    silent: Silent, trick: str
) -> None:
    # HAProxy has three to send to, one of them Apache.
    for port in (*[silent.haproxy] * 6, silent.balancer):
        found = echo(port, TRICKS[trick])
        for name in SET:
            (value,) = found[name]
            assert FORGED not in value and "forged" not in value
            assert value not in ("(null)", "")
        assert found["x-forwarded-proto"] == ["http"]
        assert found["host"] == ["localhost"]
        assert found["authorization"] == ["Token x"]
        assert not {"x-forwarded-for", "x-request-id"} & set(
            ", ".join(found.get("connection", [])).lower().split(", ")
        )
    # Asked directly, Apache names the client that HAProxy would name: here the client itself.
    found = echo(silent.apache, TRICKS[trick])
    assert all(len(found[name]) == 1 and found[name] != ["(null)"] for name in SET)


def test_trailers_are_no_headers(silent: Silent) -> None:
    """What follows a body in chunks cannot overwrite what a proxy has set."""
    body = f"1\r\na\r\n0\r\nX-Forwarded-For: {FORGED}\r\nX-Request-ID: forged-by-client\r\n"
    trick = f"Transfer-Encoding: chunked\r\nTrailer: X-Forwarded-For\r\n\r\n{body}"
    for port in (*[silent.haproxy] * 3, silent.balancer, silent.apache):
        found = echo(port, trick)
        assert all(len(found[name]) == 1 for name in SET)


def test_stats_page_limits_password_guesses(silent: Silent) -> None:
    url = f"http://127.0.0.1:{silent.stats}/stats"
    assert requests.get(url, auth=("u", "p"), timeout=10).status_code == 200

    guessed = [requests.get(url, auth=("u", f"{n}"), timeout=10) for n in range(30)]

    statuses = [answer.status_code for answer in guessed]
    assert statuses[:5] == [401] * 5 and statuses[-10:] == [429] * 10
    assert guessed[-1].headers["Retry-After"] == "60"
    # Nor is a right guess told from a wrong one.
    assert requests.get(url, auth=("u", "p"), timeout=10).status_code == 429
