"""APP_SERVER=asgi: WebSockets and streams through HAProxy, and what a deploy does to them."""

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ops.threads import DaemonThreads
from tests.background import InBackground
from tests.chaos.load import Client, Load, repeated
from tests.chaos.release import both_on, changed_release, output_of, releases_in_service, stackctl
from tests.stack.compose import DB_ENGINE, Stack
from tests.stack.streaming import open_socket
from tests.stack.test_gunicorn import ASK, CASES, EXPECTED_STATUS
from tests.unit.config_files import limits
from tests.waiting import eventually

# After this many seconds of silence every server in between has given up.
LONGER_THAN_LIMITS = int(limits()["INNER_SECONDS"]) + 2
PIECES_PER_SECOND = 2
SERVICE_RESTART = 1012
# As /proc/net/tcp writes it.
DATABASE_PORT = f"{5432 if DB_ENGINE == 'postgres' else 3306:04X}"


@pytest.fixture(scope="module")
def long_lived(streaming: Stack) -> dict[str, Future[str]]:
    """Open a stream and a silent WebSocket that live longer than any time limit."""

    def stream() -> str:
        pieces = LONGER_THAN_LIMITS * PIECES_PER_SECOND
        return requests.get(streaming.url(f"/lines/{pieces}/"), timeout=30).text

    def silent_socket() -> str:
        with open_socket(streaming) as socket:
            time.sleep(LONGER_THAN_LIMITS)
            socket.send("still here")
            return str(socket.recv(timeout=10))

    threads = DaemonThreads()
    return {"stream": threads.submit(stream), "socket": threads.submit(silent_socket)}


def test_channels_consumer_echoes_over_a_websocket(
    streaming: Stack, long_lived: dict[str, Future[str]]
) -> None:
    with open_socket(streaming) as socket:
        for text in ("one", "x" * 100_000):
            socket.send(text)
            assert socket.recv(timeout=10) == text
        request_id = socket.response.headers["X-Request-ID"]  # type: ignore[union-attr]
    with pytest.raises(InvalidStatus, match="403"), open_socket(streaming, "http://other.example"):
        pass

    line = re.compile(f'.*"request_id":"{request_id}".*"status":101.*')
    for names in (("haproxy",), ("server1", "server2")):
        eventually(
            partial(logged, streaming, names, line),
            seconds=15,
            what=f"a line of the WebSocket in the log of {names}",
        )


def logged(stack: Stack, services: tuple[str, ...], line: re.Pattern[str]) -> bool:
    """Return whether one of the services has logged a line."""
    return any(line.search(stack.logs(service)) for service in services)


def test_each_event_arrives_at_once(streaming: Stack) -> None:
    headers = {"Accept": "text/event-stream"}
    started = time.monotonic()
    with requests.get(streaming.url("/events/"), headers=headers, stream=True, timeout=10) as got:
        first, second = (line for line, _ in zip(events_of(got), range(2), strict=False))

    assert (first, second) == ("data: 0", "data: 1")
    # The view waits 0.5 s between two; a buffer would hold hundreds.
    assert time.monotonic() - started < 5


def events_of(answer: requests.Response) -> Iterator[str]:
    """Yield the events of a response."""
    return (line.decode() for line in answer.iter_lines() if line)


def test_open_streams_leave_the_workers_to_pages(streaming: Stack) -> None:
    """HAProxy lets WEB_CONCURRENCY pages into a server; streams do not count."""
    with ExitStack() as sockets:
        for _ in range(20):
            sockets.enter_context(open_socket(streaming))
        for _ in range(10):
            assert streaming.get("/profile/").elapsed.total_seconds() < 1


def test_asgi_servers_answer_with_the_status_of_the_others(streaming: Stack) -> None:
    output = streaming.run_in("server1", "python", "-c", ASK, json.dumps(CASES))
    answers = json.loads(output.splitlines()[-1])

    for server in (0, 1):
        assert {name: both[server][0] for name, both in answers.items()} == EXPECTED_STATUS


def test_sessions_hold_and_connections_to_the_database_end(streaming: Stack) -> None:
    """Each request has a thread of its own: a kept connection would stay open and unused."""
    cookie = streaming.get("/visit/").cookies["sessionid"]
    # The cookie is for HTTPS, so `requests` would not send it.
    headers = {"Cookie": f"sessionid={cookie}"}
    answers = [streaming.get("/visit/", headers=headers).json() for _ in range(20)]

    assert [answer["visits"] for answer in answers] == [*range(2, 22)]
    for server in ("server1", "server2"):
        table = streaming.run_in(server, "cat", "/proc/net/tcp").splitlines()
        kept = [row for row in table if re.search(rf":{DATABASE_PORT} 01 ", row)]
        # Only a health check may have one in this moment.
        assert len(kept) <= 1, kept


def test_metrics_count_the_requests_of_all_workers(streaming: Stack) -> None:
    read = "import urllib.request as u; print(u.urlopen('http://localhost:9145/metrics').read().decode())"
    pattern = r'requests_total\{method="GET",status="200",view="visit"\} (\d+)'

    def counted() -> float:
        texts = (streaming.python_in(server, read) for server in ("server1", "server2"))
        return sum(float(number) for text in texts for number in re.findall(pattern, text))

    before = counted()
    for _ in range(20):
        assert streaming.get("/visit/").ok

    assert counted() == before + 20


def test_streams_and_websockets_outlive_the_time_limit_of_a_request(
    long_lived: dict[str, Future[str]],
) -> None:
    lines = range(LONGER_THAN_LIMITS * PIECES_PER_SECOND + 1)
    seconds = LONGER_THAN_LIMITS + 30

    assert long_lived["stream"].result(seconds) == "".join(f"{number}\n" for number in lines)
    assert long_lived["socket"].result(seconds) == "still here"


class Visitors(InBackground):
    """Browsers that keep a WebSocket or events open, and connect again after the end of one."""

    def __init__(self, stack: Stack, number: int) -> None:
        self.stack = stack
        # How each connection ended: a close code; whether the events were whole.
        self.ends: list[int | str] = []
        self.exchanged = 0
        super().__init__([self.socket, self.events] * number, end_seconds=30)

    def socket(self, over: threading.Event) -> None:
        """Send a message twice a second."""
        while not over.is_set():
            with open_socket(self.stack) as socket:
                try:
                    while not over.wait(0.5):
                        socket.send("ping")
                        assert socket.recv(timeout=10) == "ping"
                        self.exchanged += 1
                except ConnectionClosed as closed:
                    self.ends.append(closed.rcvd.code if closed.rcvd else "cut off")

    def events(self, over: threading.Event) -> None:
        """Read events."""
        while not over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.stack.http_port, timeout=30)
            connection.request("GET", "/events/", headers={"Accept": "text/event-stream"})
            answer = connection.getresponse()
            try:
                # Raises an error where the response is cut off.
                while not over.is_set():
                    if not answer.read1(1000):
                        self.ends.append("whole")
                        break
                    self.exchanged += 1
            except (OSError, http.client.HTTPException) as error:
                self.ends.append(repr(error))
            connection.close()


def test_deploy_ends_streams_clearly_and_fails_no_request(streaming: Stack) -> None:
    """Visitors connect again, to the new release; a response that ends soon is whole."""
    clients = [Client(repeated("GET", "/profile/")()) for _ in range(4)]
    clients += [Client(repeated("GET", "/visit/")(), keep_alive=False) for _ in range(2)]
    visitors = Visitors(streaming, 4)
    with Load(streaming.http_port, clients) as load, visitors:
        load.warm_up()
        eventually(lambda: visitors.exchanged > 30, seconds=30, what="all streams are open")
        url = streaming.url("/lines/30/")
        short = DaemonThreads().submit(lambda: requests.get(url, timeout=30).text)
        with changed_release(streaming, "second"):
            output = output_of(0, stackctl(streaming, "deploy", "--release", "second"))
        ends = list(visitors.ends)
        before = visitors.exchanged
        eventually(lambda: visitors.exchanged > before + 30, seconds=30, what="streams go on")

    assert releases_in_service(streaming) == both_on("second")
    assert "next to the running release" in output
    assert not load.failed, load.summary()
    assert len(load.outcomes) > 300, load.summary()
    assert sorted(map(str, ends)) == [*[str(SERVICE_RESTART)] * 4, *["whole"] * 4]
    assert short.result(30) == "".join(f"{number}\n" for number in range(31))
