"""Timeouts of the proxies: client, next request, and server."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.stack.bench import REQUEST_SECONDS, Bench

GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEADER = b"GET /who HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
# More than HAProxy buffers before it forwards a request.
LONG = POST % (5_000_000, bytes(40_000))
NEVER = GET % b"/never"
UPLOAD = POST.replace(b"/echo", b"/never") % (40_000, bytes(40_000))
SLEEP = b"/slow/sleep/%d" % (REQUEST_SECONDS + 17)
FORM = POST.replace(b"/echo", SLEEP) % (9, b"x" * 9)
LONG_FORM = POST.replace(b"/echo", SLEEP) % (40_000, bytes(40_000))
# (proxy, what the client sends before it is silent, the status that ends the connection (0: closed
# without a response), seconds until then).
CASES = {
    "haproxy: header": ("haproxy", HEADER, 408, 5),
    "haproxy: short body": ("haproxy", POST % (1000, b"x"), 408, 10),
    "haproxy: long body": ("haproxy", LONG, 400, 30),
    "haproxy: next request": ("haproxy", GET % b"/who", 0, 10),
    # Long bodies do not go through Apache, whose timeout is shorter.
    "haproxy: server": ("haproxy", UPLOAD, 504, REQUEST_SECONDS + 10),
    # Six tries of 4 s.
    "haproxy: file's server": ("haproxy", GET % b"/static/never", 504, 24),
    "balancer: header": ("nginx-balancer", HEADER, 0, 5),
    "balancer: body": ("nginx-balancer", LONG, 0, 10),
    "balancer: next request": ("nginx-balancer", GET % b"/who", 0, 5),
    "balancer: server": ("nginx-balancer", NEVER, 504, REQUEST_SECONDS + 10),
    "apache: header": ("apache", HEADER, 408, 10),
    "apache: body": ("apache", POST % (1000, b"x"), 408, 15),
    "apache: server": ("apache", NEVER, 502, REQUEST_SECONDS + 8),
    "nginx: header": ("nginx", HEADER, 0, 10),
    "nginx: body": ("nginx", LONG, 0, 15),
    # Longer than the client timeout of HAProxy and the default timeouts of servers.
    **{
        f"{proxy}: slow page": (proxy, GET % b"/sleep/32", 200, 32)
        for proxy in ("haproxy", "nginx-balancer", "apache", "nginx")
    },
    "nginx: application": ("nginx", NEVER, 504, REQUEST_SECONDS + 5),
    # SLOW_PATHS: longer than HAProxy waits for any other page.
    **{
        f"{proxy}: {name}": (proxy, request, 200, REQUEST_SECONDS + 17)
        for proxy, name, request in (
            ("haproxy", "page of a slow path", GET % SLEEP),
            ("haproxy", "form of a slow path", FORM),
            ("haproxy", "upload of a slow path", LONG_FORM),
            ("nginx", "page of a slow path", GET % SLEEP),
        )
    },
}
# Allowance for a busy machine.
LATE_SECONDS = 4
Ending = tuple[int, float, bytes]
# HAProxy and Apache answer incomplete requests with their default page.
PLAIN = {"haproxy: header", "haproxy: long body", "apache: header", "apache: body"}


def wait_for_end(bench: Bench, proxy: str, sent: bytes) -> Ending:
    """Return the status (0: none), the seconds and the response that a silent client gets."""
    with socket.create_connection(("127.0.0.1", bench.ports[proxy]), timeout=60) as connection:
        connection.sendall(sent)
        began, answer = time.monotonic(), b""
        while received := connection.recv(65536):
            answer += received
            if sent == GET % b"/who":
                # The timeout of the next request starts here.
                began, answer = time.monotonic(), b""
            elif b"}" in answer or answer.endswith(b"slept"):
                break
        return int(answer.split()[1]) if answer else 0, time.monotonic() - began, answer


@pytest.fixture(scope="module")
def all_endings(bench: Bench) -> Iterator[dict[str, Future[Ending]]]:
    """Run all cases in parallel."""
    with ThreadPoolExecutor(len(CASES)) as pool:
        yield {
            name: pool.submit(wait_for_end, bench, proxy, sent)
            for name, (proxy, sent, _, _) in CASES.items()
        }


@pytest.mark.parametrize("case", CASES)
def test_silent_connection_ends_at_its_timeout(
    all_endings: dict[str, Future[Ending]], case: str
) -> None:
    _, _, expected, limit = CASES[case]

    status, seconds, answer = all_endings[case].result()

    assert (status, limit - 0.5 <= seconds < limit + LATE_SECONDS) == (expected, True), seconds
    if status >= 400 and case not in PLAIN:
        head, _, body = answer.decode().partition("\r\n\r\n")
        assert json.loads(body[body.index("{") : body.index("}") + 1]).keys() == {"detail"}
        assert "cache-control: no-store" in head.lower()
        assert ("retry-after: 5" in head.lower()) == (status == 502 or "server" in case)
