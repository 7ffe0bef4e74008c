"""The WSGI application: values from nginx, and chunked responses."""

import io
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from ops import wsgi_http
from ops.logs.requests import NGINX_LOGS

UWSGI = {"uwsgi.version": b"2", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": "GET"}


class Answer:
    """A response of two pieces and an empty one, which may fail after them."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.closed = False

    def __iter__(self) -> Iterable[bytes]:
        yield from (b"one", b"", b"and two")
        if self.fails:
            raise ValueError

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the environ that Django receives."""
    environ: dict[str, Any] = {}

    def django(given: dict[str, Any], start_response: object) -> list[bytes]:
        environ.update(given)
        return [b""]

    monkeypatch.setattr(wsgi_http, "django", django)
    return environ


def environ(**more: object) -> dict[str, Any]:
    """Return the environ of a request."""
    return {"wsgi.input": io.BytesIO(), **more}


def test_wsgi_uses_client_address_and_port_from_nginx(seen: dict[str, Any]) -> None:
    given = environ(
        **{"REMOTE_ADDR": "", "SERVER_PORT": "80", "HTTP_HOST": "localhost"},
        **{"HTTP_NGINX_REMOTE_ADDR": "192.0.2.7", "HTTP_NGINX_SERVER_PORT": "7999"},
    )
    wsgi_http.application(given, None)

    del seen["wsgi.input"]
    assert seen == {
        **{"REMOTE_ADDR": "192.0.2.7", "SERVER_PORT": "7999", "HTTP_HOST": "localhost"},
        NGINX_LOGS: True,
    }


def test_wsgi_without_nginx_has_no_client_address_and_port(seen: dict[str, Any]) -> None:
    """Gunicorn takes the port from the Host header, and /metrics depends on the port."""
    wsgi_http.application(environ(REMOTE_ADDR="", SERVER_PORT="9145"), None)

    del seen["wsgi.input"]
    assert seen == {"REMOTE_ADDR": "", "SERVER_PORT": "", NGINX_LOGS: False}


def test_wsgi_reads_the_body_that_the_view_does_not_read(seen: dict[str, Any]) -> None:
    body = io.BytesIO(bytes(1_000_000))

    wsgi_http.application(environ(**{"wsgi.input": body}), None)

    assert body.read() == b""


def test_wsgi_answers_a_request_with_a_truncated_body(seen: dict[str, Any]) -> None:
    class CutOff:
        def read(self, size: int) -> bytes:
            raise OSError

    assert wsgi_http.application(environ(**{"wsgi.input": CutOff()}), None) == [b""]


def ask(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, status: str = "200 OK", **request: object
) -> tuple[dict[str, str], Iterable[bytes]]:
    """Return headers and body of a response, whose length is unknown unless given."""
    response_headers: dict[str, str] = {}
    length = request.pop("length", None)

    def django(given: dict[str, Any], start: Callable[..., None]) -> Answer:
        # uWSGI would send a file without chunks.
        assert "wsgi.file_wrapper" not in given
        start(status, [("content-length", str(length))] if length else [])
        return answer

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        response_headers.update(headers)

    monkeypatch.setattr(wsgi_http, "django", django)
    given = environ(**{**UWSGI, "wsgi.file_wrapper": list, **request})
    return response_headers, wsgi_http.direct(given, start_response)


def test_response_of_unknown_length_is_chunked_and_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = Answer()

    headers, body = ask(monkeypatch, answer)

    assert headers["Transfer-Encoding"] == "chunked"
    assert b"".join(body) == b"3\r\none\r\n7\r\nand two\r\n0\r\n\r\n"
    body.close()  # type: ignore[attr-defined]
    assert answer.closed


def test_response_of_a_failed_view_has_no_final_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    _, body = ask(monkeypatch, Answer(fails=True))
    pieces = []

    with pytest.raises(ValueError):
        for piece in body:
            pieces.append(piece)

    assert b"".join(pieces) == b"3\r\none\r\n7\r\nand two\r\n"


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        ("204 No Content", {}),
        ("304 Not Modified", {}),
        ("200 OK", {"REQUEST_METHOD": "HEAD"}),
        ("200 OK", {"SERVER_PROTOCOL": "HTTP/1.0"}),
        ("200 OK", {"length": 10}),
    ],
)
def test_response_is_not_chunked_where_http_forbids_it_or_length_is_known(
    monkeypatch: pytest.MonkeyPatch, status: str, request_: dict[str, Any]
) -> None:
    headers, body = ask(monkeypatch, Answer(), status, **request_)

    assert "Transfer-Encoding" not in headers
    assert list(body) == [b"one", b"", b"and two"]
