"""HAProxy, nginx as the balancer, Apache and the nginx of servers parse requests alike."""

import json
import subprocess
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from tests.ports import free_port
from tests.stack.compose import Stack
from tests.waiting import eventually

PROXIES = {
    "haproxy": "haproxy:8080",
    "nginx-balancer": "nginx-balancer:8090",
    "apache": "apache:8002",
    "nginx": "server1:7999",
}
# Runs inside a server, which reaches every proxy by name: sends raw requests, prints the status and
# request id of each response.
ASK = """
import json, socket, sys
answers = []
for address, text in json.load(sys.stdin):
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(text.encode("latin1"))
        read = b""
        while b"\\r\\n\\r\\n" not in read and (more := connection.recv(65536)):
            read += more
    first, *lines = read.partition(b"\\r\\n\\r\\n")[0].decode("latin1").split("\\r\\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    answers.append([int(first.split(" ")[1]), headers.get("x-request-id", "")])
print(json.dumps(answers))
"""
REFUSED, FILES, DJANGO = "refused", "nginx itself", "Django"
# The program that answers a GET of each path, behind every proxy.
PATHS = {
    **dict.fromkeys(
        (
            "/static/../profile/",
            "/static/./x",
            "/static/..",
            "/static/.",
            "/static/x/../../profile/",
            "/static/%2e%2e/profile/",
            "/static/.%2E/profile/",
            "/static/%2E",
            "/static%2f..%2fprofile/",
            "/static/..%2Fprofile/",
            "/static//..//../profile/",
            "/static/../profile/?a=/static/",
            "/profile/..?a",
            "/media/..",
            "/media/%2e%2e%2F%2e%2e/profile/",
            "/.well-known/acme-challenge/../../profile/",
            "/static/%3F/../../profile/",
            "http://localhost/static/../profile/",
            "/profile/%2e%2e/static/x",
            "/static/x%00",
            "/static/..%00/profile/",
            "/%zz",
            "/static/%",
            "/static/#/../../profile/",
            "/profile/#",
            "/st\u00e4tic/",
            "/static/\x01",
            "/static/\tx",
            "/a b",
            "profile/",
            "*",
            "",
            "http://elsewhere/profile/",
        ),
        REFUSED,
    ),
    **dict.fromkeys(
        (
            "/static/x",
            "//static/x",
            "/static//x",
            "///static///x",
            "/%2Fstatic/x",
            "/static%2Fx",
            "/%73tatic/x",
            "/static/?/../profile/",
            "/static/x?a=../../profile/",
            "/static/...",
            "/static/.x",
            "/static/x.",
            "/static/x..",
            "/static/..x/y",
            "/static/;/x",
            "/static/..;/profile/",
            "/static/%252e%252e/profile/",
            "/static/..%5Cprofile/",
            "/static/\\..\\profile/",
            "/static/%0d%0ax",
            "/static/%E4",
            "/static/a+b",
            "/media/x",
            "/%6dedia/x",
            "//.well-known//acme-challenge/x",
            "http://localhost/static/x",
            f"/static/{'x' * 7000}",
        ),
        FILES,
    ),
    **dict.fromkeys(
        (
            "/",
            "///",
            "//profile/",
            "/profile//",
            "/profile/?a=/../static/x",
            "/profile/?a=%00",
            "/static",
            "/media",
            "/static;a/x",
            "/static%5Cx",
            "/static\\..\\profile/",
            "/STATIC/x",
            "/Static/x",
            "/staticx/",
            "/x/static/y",
            "/static%252Fx",
            "/a/b%2Fc",
            "/a/%2F/c",
            "/...",
            "/a+b%20c",
            "/%C3%A4",
            "/.well-known/acme-challenge",
            "/.well-known/other",
            "http://localhost/profile/",
            "http://localhost",
            f"/{'x' * 7000}",
        ),
        DJANGO,
    ),
}
POST = "POST /profile/ HTTP/1.1\r\nHost: localhost\r\n"
GET = "GET /profile/ HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
# Requests that no server may process.
MALFORMED = {
    **{
        f"Content-Length: {value}": f"{POST}Content-Length: {value}\r\n\r\nabcde"
        for value in (
            *("-5", "+5", "0x5", "5 x", "5, 6", "5;", ""),
            *(str(2**63 - 1), str(2**63), str(2**64 - 1), str(2**64), "9" * 40, "9" * 11),
        )
    },
    "two lengths": f"{POST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "unknown coding": f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked is not last": f"{POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": f"{POST}{CHUNKED}{CHUNKED}\r\n0\r\n\r\n",
    "gzip, chunked": f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    **{
        f"chunk of {size}": f"{POST}{CHUNKED}\r\n{size}\r\nx\r\n0\r\n\r\n"
        for size in ("ffffffffffffffff", "fffffffffffffffff", "xyz", "-1", "+1", "0x1")
    },
    "a chunk longer than it says": f"{POST}{CHUNKED}\r\n1\r\nabc\r\n0\r\n\r\n",
    "no host": "GET /profile/ HTTP/1.1\r\n\r\n",
    "two hosts": f"{GET}Host: elsewhere\r\n\r\n",
    "a space before the colon": f"{GET}X-Forwarded-For : 203.0.113.9\r\n\r\n",
    "NUL in a header": f"{GET}X-A: b\0c\r\n\r\n",
}
# (number of headers, length of each value)
HEADERS = [(60, 1), (95, 1), (118, 1), (250, 1), (900, 1), (1, 7000), (3, 4800), (40, 350)]


@pytest.fixture(scope="module")
def all_proxies(production: Stack) -> Iterator[Stack]:
    """Add Apache and nginx as the balancer to the production stack."""
    services = ("apache", "nginx-balancer")
    ports = {f"{name}_PORT": str(free_port()) for name in ("NGINX", "APACHE", "NGINX_BALANCER")}
    parts = {"APACHE": "1", "NGINX_BALANCER": "1"}
    try:
        production.compose(
            *("up", "--detach", "--wait", "--no-deps", *services), environment={**parts, **ports}
        )
        yield production
    finally:
        production.compose("rm", "--stop", "--force", *services, environment=parts)


def ask(stack: Stack, requests: list[tuple[str, str]]) -> list[tuple[int, str]]:
    """Send each request to its proxy; return the status and request id of each response."""
    command = ["docker", "exec", "--interactive", stack.container("server1"), "python", "-c", ASK]
    done = subprocess.run(
        command, input=json.dumps(requests), capture_output=True, text=True, check=True, timeout=120
    )
    return [(status, identity) for status, identity in json.loads(done.stdout)]


def lines(stack: Stack, *services: str) -> dict[str, dict[str, Any]]:
    """Return the log lines of these services by request id."""
    log_lines = (line for name in services for line in stack.logs(name).splitlines())
    records = [json.loads(line) for line in log_lines if line.startswith('{"time"')]
    return {line["request_id"]: line for line in records if line["server"] in ("haproxy", "nginx")}


def test_every_proxy_parses_a_path_alike(all_proxies: Stack) -> None:
    """The program that answers, and the backend of HAProxy: only files bypass its queue."""
    requests = {
        (proxy, path): f"path-{n:04}" for n, (path, proxy) in enumerate(product(PATHS, PROXIES))
    }
    answers = ask(
        all_proxies,
        [
            (
                PROXIES[proxy],
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {identity}\r\n"
                "Connection: close\r\n\r\n",
            )
            for (proxy, path), identity in requests.items()
        ],
    )
    answered = dict(zip(requests, answers, strict=True))

    def identity_of(proxy: str, path: str) -> str:
        return (
            answered[proxy, path][1]
            if proxy in ("haproxy", "nginx-balancer")
            else requests[proxy, path]
        )

    # Apache answers 404 to %00 in a path before any rule.
    logged = {
        identity_of(*key)
        for key, answer in answered.items()
        if answer[0] != 400 and not (answer[0] == 404 and "%00" in key[1])
    }
    balanced = logged & {identity_of("haproxy", path) for path in PATHS}
    eventually(
        lambda: balanced <= set(lines(all_proxies, "haproxy")),
        seconds=10,
        what="HAProxy has logged the requests",
    )
    eventually(
        lambda: logged <= set(lines(all_proxies, "server1", "server2")),
        seconds=10,
        what="nginx has logged the requests",
    )
    chosen, served = lines(all_proxies, "haproxy"), lines(all_proxies, "server1", "server2")

    def answering_program(proxy: str, path: str) -> str:
        status, identity = answered[proxy, path][0], identity_of(proxy, path)
        if status == 400 or (status == 404 and identity not in served):
            return REFUSED
        return DJANGO if served[identity]["upstream_seconds"] else FILES

    programs = {(proxy, path): answering_program(proxy, path) for proxy, path in requests}
    assert {key: value for key, value in programs.items() if value != PATHS[key[1]]} == {}
    backends = {FILES: "static_backend", DJANGO: "dynamic_backend"}
    assert {
        path: backend
        for path, expected in PATHS.items()
        if expected in backends
        and (backend := chosen[answered["haproxy", path][1]]["backend"]) != backends[expected]
    } == {}


@pytest.mark.parametrize("proxy", PROXIES)
def test_malformed_requests_are_refused(all_proxies: Stack, proxy: str) -> None:
    answers = ask(all_proxies, [(PROXIES[proxy], text) for text in MALFORMED.values()])

    status = {name: status for name, (status, _) in zip(MALFORMED, answers, strict=True)}
    # For an unknown transfer coding HAProxy answers 422, nginx 501.
    assert {name: code for name, code in status.items() if code not in (400, 413, 422, 501)} == {}


@pytest.mark.parametrize("proxy", PROXIES)
def test_large_headers_are_forwarded_or_refused_and_never_fail_a_server(
    all_proxies: Stack, proxy: str
) -> None:
    """The limits of uWSGI and gunicorn are above those of every proxy."""
    requests = [
        f"{GET}Connection: close\r\n"
        + "".join(f"x{number}: {'v' * size}\r\n" for number in range(count))
        + "\r\n"
        for count, size in HEADERS
    ]
    requests += [text.replace("/profile/", f"/profile/?{'q' * 7900}") for text in requests]

    statuses = [
        status for status, _ in ask(all_proxies, [(PROXIES[proxy], text) for text in requests])
    ]

    assert set(statuses) <= {200, 400, 431}
    # Every proxy forwards what HAProxy accepts.
    assert statuses[0] == statuses[1] == 200
