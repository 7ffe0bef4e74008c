"""The requests of stackctl to the site and its servers, and which responses are wrong."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.ports import free_port
from tools.stackctl.checks import answers
from tools.stackctl.commands import local_ca
from tools.stackctl.common import process
from tools.stackctl.common.console import Console
from tools.stackctl.docker.compose import Site


class Handler(BaseHTTPRequestHandler):
    """Responds with the request."""

    def do_GET(self) -> None:
        request = [self.path, self.headers["Host"], self.headers["Accept"]]
        self.send_response(203)
        self.end_headers()
        self.wfile.write(json.dumps(request).encode() + b"\xff" + bytes(30_000))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path | None], int]]:
    """Return a function that starts a server, with TLS if there is a certificate."""
    with ExitStack() as cleanup:

        def start(certificate: Path | None) -> int:
            server = HTTPServer(("127.0.0.1", 0), Handler)
            if certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate / "fullchain.pem", certificate / "privkey.pem")
                server.socket = context.wrap_socket(server.socket, server_side=True)
            Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            cleanup.callback(server.server_close)
            cleanup.callback(server.shutdown)
            return server.server_port

        yield start


@pytest.mark.parametrize("tls", [False, True])
def test_stackctl_requests_the_site_by_host_name_with_any_certificate(
    serve: Callable[[Path | None], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    monkeypatch.setattr(process, "ROOT", tmp_path)
    certificate = None
    if tls:
        local_ca.make(Console(as_json=True), ["other.example"], force=False)
        certificate = tmp_path / "certs/other.example"
    site = Site("127.0.0.1", serve(certificate), tls)

    status, body = answers.get(site, "shop.example", "/readyz")

    request, _, rest = body.partition("�")
    assert (status, json.loads(request)) == (203, ["/readyz", "shop.example", "application/json"])
    assert len(request) + 1 + len(rest) == 20_000


def test_site_that_is_down_or_hangs_has_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    status, reason = answers.get(Site("127.0.0.1", free_port()), "localhost")
    assert status == 0 and "refused" in reason

    monkeypatch.setattr(answers, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for tls in (False, True):
            status, reason = answers.get(
                Site("127.0.0.1", silent.getsockname()[1], tls), "localhost"
            )
            assert status == 0 and "timed out" in reason


def test_site_that_requires_the_proxy_protocol_is_asked_with_it() -> None:
    """HAProxy closes a connection of a trusted proxy without it."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        server.settimeout(5)
        site = Site("127.0.0.1", server.getsockname()[1], proxy_protocol=True)
        asked = pool.submit(answers.get, site, "localhost", "/readyz")
        refused, _ = server.accept()
        with refused:
            assert refused.recv(100).startswith(b"GET /readyz ")
        accepted, _ = server.accept()
        with accepted, accepted.makefile("rb") as lines:
            assert lines.readline() == b"PROXY UNKNOWN\r\n"
            assert lines.readline() == b"GET /readyz HTTP/1.1\r\n"
            accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert asked.result() == (200, "ok")


WAS_UP = "/healthz reports as down what was up before"
HEALTH = {"database": {"status": "down", "error": "gone"}, "cache": {"status": "up"}}


@pytest.mark.parametrize(
    ("path", "status", "body", "message"),
    [
        ("/readyz", 200, "", ""),
        ("/readyz", 0, "refused", "/readyz answers nothing: refused"),
        ("/readyz", 404, "x" * 999, f"/readyz answers 404: {'x' * 300}"),
        ("/", 404, "", ""),
        ("/", 500, "<title> Odd </title>", "/ answers 500: Odd"),
        (
            "/",
            500,
            "Error at /\nno such column\n\nIn template home.html:\n <title>{{ title }}</title>",
            "/ answers 500: Error at /\nno such column",
        ),
        ("/healthz", 503, {"components": HEALTH}, f"{WAS_UP}: database (gone)"),
        ("/healthz", 503, {"components": {"storage": {"status": "down"}}}, ""),
        ("/healthz", 503, {"components": {"disk": {"status": "down"}}}, f"{WAS_UP}: disk (down)"),
        ("/healthz", 503, {"components": []}, '/healthz answers 503: {"components": []}'),
        ("/healthz", 500, {"detail": "away"}, "/healthz answers 500: away"),
        ("/profile/", 200, {"release": "old"}, "it answers as release old, not new"),
        ("/profile/", 200, {"release": "new"}, ""),
        ("/profile/", 200, {}, ""),
        ("/readyz", 200, {"release": "old"}, ""),
    ],
)
def test_wrong_response_of_a_new_release_is_named(
    path: str, status: int, body: object, message: str
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    answer = {"status": status, "body": text}

    assert answers.problem(path, answer, "new", frozenset({"storage"})) == message
