"""WebSockets of APP_SERVER=asgi: their handshake, long messages, and the stop of HAProxy."""

import http.client
import socket

import pytest
import requests
from h2.connection import H2Connection
from h2.events import ResponseReceived
from websockets.exceptions import ConnectionClosed

from ops.threads import DaemonThreads
from tests.stack.compose import Stack, docker
from tests.stack.streaming import open_socket
from tests.waiting import eventually

UPGRADE = {"Upgrade": "websocket"}
HANDSHAKE = {
    **UPGRADE,
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Origin": "http://localhost",
}
MESSAGE_TOO_BIG = 1009


def status(stack: Stack, method: str, headers: dict[str, str], body: bytes | None = None) -> int:
    """Return the status of the answer to a request for a page."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.http_port, timeout=10)
    try:
        connection.request(method, "/livez", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("GET", UPGRADE, None),
        ("GET", HANDSHAKE, b"abc"),
        ("GET", {**HANDSHAKE, "Transfer-Encoding": "chunked"}, b"3\r\nabc\r\n0\r\n\r\n"),
        ("HEAD", HANDSHAKE, None),
        ("POST", HANDSHAKE, b"abc"),
        ("POST", UPGRADE, b"x" * 100_000),
    ],
    ids=["no Connection", "body", "chunked body", "HEAD", "POST", "long POST"],
)
def test_request_that_is_no_handshake_gets_its_page(
    streaming: Stack, method: str, headers: dict[str, str], body: bytes | None
) -> None:
    plain = {"Transfer-Encoding": "chunked"} if "Transfer-Encoding" in headers else {}

    assert status(streaming, method, headers, body) == status(streaming, method, plain, body)


def test_websocket_opens_within_a_connection_of_http2(streaming: Stack) -> None:
    """As browsers do next to a page over HTTPS (RFC 8441)."""
    headers = {
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":scheme": "http",
        ":path": "/ws/echo/",
        ":authority": "localhost",
        "sec-websocket-version": "13",
        "origin": "http://localhost",
    }
    http2 = H2Connection()
    http2.initiate_connection()
    http2.send_headers(1, list(headers.items()))
    with socket.create_connection(("127.0.0.1", streaming.http_port), timeout=10) as client:
        client.sendall(http2.data_to_send())
        answers: list[ResponseReceived] = []
        while not answers and (received := client.recv(65536)):
            events = http2.receive_data(received)
            answers = [event for event in events if isinstance(event, ResponseReceived)]

    assert dict(answers[0].headers or ())[b":status"] == b"200"


def test_websocket_refuses_a_message_that_is_long_when_unpacked(streaming: Stack) -> None:
    with open_socket(streaming) as websocket:
        websocket.send("x" * 2**20)
        assert len(websocket.recv(timeout=10)) == 2**20
        websocket.send("x" * (2**20 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=10)

    assert closed.value.rcvd and closed.value.rcvd.code == MESSAGE_TOO_BIG


def test_stopping_haproxy_does_not_wait_for_streams_while_visitors_are_refused(
    streaming: Stack,
) -> None:
    """Until it refuses connections it opens WebSockets as before."""
    haproxy = streaming.container("haproxy")
    headers = {"Accept": "text/event-stream"}
    url = streaming.url("/events/")
    with open_socket(streaming), requests.get(url, headers=headers, stream=True, timeout=30):
        stopped = DaemonThreads().submit(docker, "stop", haproxy)
        try:
            eventually(
                lambda: streaming.get("/livez").headers.get("Connection") == "close",
                seconds=10,
                what="HAProxy stops",
            )
            with open_socket(streaming) as late:
                late.send("late")
                assert late.recv(timeout=10) == "late"
            eventually(lambda: refuses(streaming), seconds=20, what="HAProxy listens no more")
            # Without streams it ends at once; hard-stop-after is 60 s.
            assert stopped.result(5) == haproxy
        finally:
            docker("start", haproxy)
    streaming.wait_for_both()


def refuses(stack: Stack) -> bool:
    """Return whether the site's port refuses connections."""
    try:
        stack.get("/livez")
    except requests.ConnectionError:
        return True
    return False
