"""Errors of the nginx in a server are JSON with the correct status."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.ports import free_port
from tests.stack.compose import Stack, docker
from tests.waiting import eventually

LIMIT_MB = 3
RUN = "/run/mysite:mode=0750,uid=10001,gid=10001"
BODY = b"POST /profile/ HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
# The raw request, and the expected status.
CASES = {
    "malformed": (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "a folder": (b"GET /static/ HTTP/1.1\r\nHost: a\r\n\r\n", 403),
    "no such file": (b"GET /static/none.css HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "the error page itself": (b"GET /.error.html HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "a file, posted": (b"POST /static/staticfiles.json HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "a large body": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99000000\r\n\r\n", 413),
    "a long address": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a large header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "an encoding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: no\r\n\r\n", 501),
    "no application": (b"GET /profile/ HTTP/1.1\r\nHost: a\r\n\r\n", 502),
    "a version": (b"GET / HTTP/9.1\r\nHost: a\r\n\r\n", 505),
    "no room for a body": (BODY % (2_000_000, bytes(2_000_000)), 500),
}


@pytest.fixture(scope="module")
def port(production: Stack) -> Iterator[int]:
    """Start the nginx of the production image without Django, with a small disk for bodies."""
    name, published = f"{production.project}-errors", free_port()
    docker(
        *("run", "--detach", "--name", name, "--publish", f"127.0.0.1:{published}:7999"),
        *("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/srv/bodies:uid=10001,size=1m"),
        *("--tmpfs", RUN),
        *("--env", f"UPLOAD_MAX_MB={LIMIT_MB}", "--entrypoint", "/srv/project/nginx/start"),
        production.image,
    )
    try:
        eventually(lambda: ask(published, CASES["a folder"][0]), seconds=20, what="nginx answers")
        yield published
    finally:
        docker("rm", "--force", name)


def ask(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a raw request; return status, headers and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer) < expected_length(answer):
            block = connection.recv(65536)
            if not block:
                break
            answer += block
    if not answer:
        # The engine's proxy accepts a connection before nginx listens.
        raise ConnectionResetError("closed without an answer")
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


def expected_length(answer: bytes) -> int:
    """Return the length of the whole response."""
    head, _, _ = answer.partition(b"\r\n\r\n")
    _, _, after = head.lower().partition(b"content-length: ")
    return len(head) + 4 + int(after.split(b"\r\n")[0] or 0)


@pytest.mark.parametrize("case", CASES)
def test_nginx_answers_errors_in_json(port: int, case: str) -> None:
    request, expected = CASES[case]

    status, headers, body = ask(port, request)

    assert (status, headers.get("content-type")) == (expected, "application/json"), body
    assert headers["cache-control"] == "no-store"
    # The header has no version.
    assert headers["server"] == "nginx"
    assert json.loads(body).keys() == {"detail"}
    if status == 413:
        assert f"the limit is {LIMIT_MB} MB" in json.loads(body)["detail"]
