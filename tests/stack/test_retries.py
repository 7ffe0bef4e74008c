"""What HAProxy and Apache ask for again of servers that end without an answer, and what never."""

import http.client
import json
from collections import Counter
from collections.abc import Iterator

import pytest

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
    asked = connection.recv(65536).split(b"\\r\\n")[0].decode()
    if "/readyz" in asked:
        connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    else:
        print(asked, flush=True)
    if "/cut" in asked:
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
        connection.sendall(b"3\\r\\none\\r\\n")
    if "/hung" in asked:
        connection.sendall(b"HTTP/1.0 502 Bad Gateway\\r\\nContent-Length: 0\\r\\n\\r\\n")
    connection.close()
"""


@pytest.fixture
def silent(production: Stack) -> Iterator[tuple[str, int, int]]:
    """Two servers that take a request and close without an answer, behind Apache and HAProxy.

    Gives the name of their container, and the ports of Apache and HAProxy.
    """
    name, apache, haproxy = f"{production.project}-silent", free_port(), free_port()
    docker("network", "create", name)
    try:
        docker(
            *("run", "--detach", "--name", name, "--network", name),
            *("--network-alias", "server1", "--network-alias", "server2"),
            *("--entrypoint", "python", production.image, "-c", SILENT),
        )
        docker(
            *("run", "--detach", "--name", f"{name}-apache", "--network", name),
            *("--network-alias", "apache", "--publish", f"127.0.0.1:{apache}:8002"),
            *("--tmpfs", "/run/apache:uid=10001,gid=10001", "--tmpfs", "/srv/kept/static"),
            *("--user", "10001:10001", "--env", "DRAIN_SECONDS=0"),
            *("--volume", f"{production.tree}/apache:/etc/apache:ro"),
            *("--volume", f"{production.tree}/nginx/errors:/usr/local/errors:ro"),
            *("httpd:2.4", "/etc/apache/start"),
        )
        docker(
            *("run", "--detach", "--name", f"{name}-haproxy", "--network", name),
            *("--publish", f"127.0.0.1:{haproxy}:8080"),
            *("--tmpfs", "/var/lib/haproxy:uid=99,gid=99"),
            *("--volume", f"{production.tree}/haproxy:/config:ro"),
            *("--env", "HAPROXY_BALANCE=roundrobin"),
            *("--env", "APACHE=1", "--env", "WEB_CONCURRENCY=2"),
            *("--env", "STATS_USER=u", "--env", "STATS_PASSWORD=p"),
            *("haproxy:3.0", "haproxy", "-f", f"/config/{CONFIG.rpartition('/')[2]}"),
        )
        eventually(lambda: well(apache), seconds=20, what="Apache answers")
        eventually(lambda: well(haproxy), seconds=20, what="HAProxy answers")
        yield name, apache, haproxy
    finally:
        docker("rm", "--force", name, f"{name}-apache", f"{name}-haproxy")
        docker("network", "rm", name)


def well(port: int) -> bool:
    """Tell whether a balancer reaches a server."""
    return bool(ask(port, "GET", "/readyz", {}, "")[0] == 200)


def test_a_request_that_may_have_arrived_is_never_sent_again(
    silent: tuple[str, int, int],
) -> None:
    """Nor one that got an answer, such as of a page that hangs: it would hang the next worker."""
    servers, apache, haproxy = silent
    once = [("POST", f"/order/{number}") for number in range(6)]
    once += [("GET", f"/hung/{number}") for number in range(6)]

    assert [ask(apache, *once[0], {}, "a=b")[0]] == [502]
    assert [ask(haproxy, *what, {}, "")[0] for what in once[1:]] == [502] * len(once[1:])

    seen = docker("logs", servers).splitlines()
    assert sorted(seen) == sorted(f"{method} {path} HTTP/1.1" for method, path in once)


def test_response_that_a_server_cuts_off_is_cut_for_the_client(
    silent: tuple[str, int, int],
) -> None:
    _, apache, haproxy = silent

    # HAProxy asks its three servers in turn, Apache among them.
    for port in (apache, *[haproxy] * 3):
        with pytest.raises(http.client.IncompleteRead):
            ask(port, "GET", "/cut", {}, "")


def test_a_page_whose_answer_never_began_is_asked_for_again(silent: tuple[str, int, int]) -> None:
    """By HAProxy alone, to which Apache says it by a status that no server has."""
    servers, apache, haproxy = silent

    status, headers, body = ask(apache, "GET", "/page/1", {}, "")
    assert status == 502
    assert json.loads(body)["detail"].startswith("The application did not answer")
    assert dict(headers)["retry-after"] == ["5"]
    status, told, same = ask(apache, "GET", "/page/2", {"X-Retry-On": "425"}, "")
    assert (status, same) == (425, body)
    assert dict(told).keys() >= {"retry-after", "cache-control"}
    # Whoever is asked last, of HAProxy's three: no visitor is told that status.
    assert {ask(haproxy, "GET", f"/page/{number}", {}, "")[0] for number in (3, 4, 5)} == {502}

    tries = Counter(line.split()[1] for line in docker("logs", servers).splitlines())
    assert tries["/page/1"] == tries["/page/2"] == 1
    assert min(tries[f"/page/{number}"] for number in (3, 4, 5)) > 1
