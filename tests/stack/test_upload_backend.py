"""Long bodies: HAProxy sends them to the servers by a backend of their own."""

import http.client
import json
import select
import socket
from collections import Counter
from contextlib import ExitStack, suppress

from tests.stack.bench import SERVERS, Bench
from tests.waiting import eventually


def test_long_bodies_use_the_upload_backend_and_static_files_refuse_them(bench: Bench) -> None:
    body = bytes(40_000)
    assert bench.request("POST", "haproxy", "/who/length", data=body).status_code == 200
    refused = bench.request("POST", "haproxy", "/static/who", data=body)
    assert refused.status_code == 413
    # In chunks, of which none says how many follow.
    assert bench.request("POST", "haproxy", "/who/chunks", data=iter([b"a"])).status_code == 200
    refused = bench.request("POST", "haproxy", "/static/chunks", data=iter([b"a"]))
    assert refused.status_code == 413

    def backends() -> set[str]:
        records = [json.loads(line) for line in bench.log("haproxy") if line.startswith('{"time')]
        logged = {record["path"]: record["backend"] for record in records}
        return {logged["/who/length"], logged["/who/chunks"]} if "/who/chunks" in logged else set()

    assert eventually(backends, seconds=5, what="both are logged") == {"upload_backend"}


def test_long_bodies_go_to_the_server_with_the_fewest_uploads(bench: Bench) -> None:
    """Round robin would also use the server with the slow client."""
    head = b"POST /who/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", bench.ports["haproxy"])) as slow:
        slow.sendall(head + bytes(40_000))
        eventually(lambda: bench.uploads() == 1, seconds=5, what="it is running")
        others = {
            bench.request("POST", "haproxy", "/who", data=bytes(40_000)).text for _ in range(4)
        }
        slow.sendall(bytes(20_000))
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        slow_server = answer.read().decode()

    assert {slow_server, *others} == {*SERVERS} and len(others) == 1


def test_haproxy_sends_a_server_at_most_ten_long_bodies(bench: Bench) -> None:
    """The others wait for the queue's time."""
    head = b"POST /who/ten HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
    with ExitStack() as opened:
        clients = [
            opened.enter_context(
                socket.create_connection(("127.0.0.1", bench.ports["haproxy"]), timeout=20)
            )
            for _ in range(10 * len(SERVERS) + 3)
        ]
        for client in clients:
            client.sendall(head + bytes(40_000))
        refused, _, _ = select.select(clients, [], [], 20)
        eventually(
            lambda: len(select.select(clients, [], [], 0)[0]) == 3,
            seconds=5,
            what="three requests have left the queue",
        )
        assert bench.uploads() == 10 * len(SERVERS) and refused
        for client in clients:
            with suppress(OSError):
                client.sendall(bytes(20_000))
        statuses = Counter(client.recv(12) for client in clients)

    assert statuses == {b"HTTP/1.1 503": 3, b"HTTP/1.1 200": 10 * len(SERVERS)}
