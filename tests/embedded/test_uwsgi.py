"""uWSGI with the settings of a server container, and a scripted application instead of Django."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest

from tests.tree import ROOT
from tests.waiting import eventually

APPLICATION = """
import os, time

forked = ["not told"]
os.register_at_fork(after_in_child=lambda: forked.append(os.getpid()))


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hang":
        time.sleep(60)
    if path == "/slow":
        open("begun", "w").close()
        time.sleep(1)
    if path == "/large":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (bytes(100_000) for _ in range(200))
    body = str(forked[-1] if path == "/forked" else os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


class UnixConnection(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: Path) -> None:
        """Set the path."""
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Server:
    """A running uWSGI."""

    def __init__(self, folder: Path, **variables: str) -> None:
        """Start it with its socket as standard input, as supervisor does."""
        self.folder, self.socket, self.log = folder, folder / "app.sock", folder / "log"
        given = {"WEB_CONCURRENCY": "2", "REQUEST_SECONDS": "9"}
        given["POOL_FILES"] = str(folder / "uwsgi")
        with socket.socket(socket.AF_UNIX) as listening, self.log.open("wb") as log:
            listening.bind(str(self.socket))
            listening.listen(64)
            self.process = subprocess.Popen(
                [
                    *(
                        str(Path(sys.executable).with_name("uwsgi")),
                        "--binary-path",
                        sys.executable,
                    ),
                    *("--ini", str(folder / "uwsgi/uwsgi.ini")),
                ],
                cwd=folder,
                env={**os.environ, **given, **variables},
                stdin=listening.fileno(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def get(self, path: str) -> str:
        """Return the response to a GET request."""
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def output(self) -> str:
        """Return what it has printed."""
        return self.log.read_text()

    def workers(self, path: str = "/pid", *, but: Set[str] = frozenset()) -> set[str]:
        """Wait until both workers have answered, and return their process ids.

        Args:
            path: what they are asked.
            but: those of earlier workers, which are not waited for.
        """
        seen: set[str] = set()

        def both() -> bool:
            seen.add(self.get(path))
            return len(seen - but) == 2

        eventually(both, seconds=30, what="both workers answer")
        return seen - but

    @property
    def fifo(self) -> Path:
        """The master's FIFO."""
        return self.folder / "uwsgi.fifo"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Create a project with the settings of uWSGI and a scripted application."""
    for name in ("uwsgi.ini", "common.ini"):
        text = (ROOT / "uwsgi" / name).read_text().replace("/run/mysite", str(tmp_path))
        write(tmp_path / "uwsgi" / name, text)
    write(tmp_path / "ops/__init__.py", "")
    write(tmp_path / "ops/wsgi_http.py", APPLICATION)
    return tmp_path


def write(path: Path, text: str) -> None:
    """Write a file and its folder."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


@contextmanager
def running(project: Path, **variables: str) -> Iterator[Server]:
    """Run uWSGI during the block."""
    server = Server(project, **variables)
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait(30)


@pytest.fixture
def server(project: Path) -> Iterator[Server]:
    """Run uWSGI with two workers."""
    with running(project) as server:
        server.workers()
        # The master reads it a moment later.
        eventually(server.fifo.exists, seconds=20, what="the FIFO")
        yield server


def test_term_lets_running_requests_finish(server: Server) -> None:
    connection = UnixConnection(server.socket)
    connection.request("GET", "/slow")
    eventually((server.folder / "begun").exists, seconds=20, what="the request is running")

    server.process.send_signal(signal.SIGTERM)

    assert connection.getresponse().status == 200
    assert server.process.wait(20) == 0


def test_modules_learn_that_a_worker_is_a_copy_of_its_process(server: Server) -> None:
    """Those with connections or locks replace them then (os.register_at_fork)."""
    assert server.workers("/forked") == server.workers()


def test_client_that_goes_away_is_no_line_in_the_log(server: Server) -> None:
    before = server.output()
    for _ in range(4):
        connection = UnixConnection(server.socket)
        connection.request("GET", "/large")
        connection.sock.recv(1000)
        connection.close()

    # Both have come back from it.
    server.workers()
    assert server.output() == before


def test_request_that_hangs_is_ended_and_named_in_the_log(project: Path) -> None:
    with running(project, REQUEST_SECONDS="2") as server:
        before, began = server.workers(), monotonic()

        with pytest.raises((http.client.HTTPException, ConnectionError)):
            server.get("/hang?page=1")

        # uWSGI checks once a second.
        assert 1 <= monotonic() - began < 6
        assert len(server.workers() & before) == 1
        assert "GET /hang?page=1" in server.output()


def test_operators_can_reload_through_the_fifo(server: Server) -> None:
    before = server.workers()

    server.fifo.write_text("r")

    server.workers(but=before)


def test_reload_waits_request_seconds_for_a_running_request(project: Path) -> None:
    with (project / "uwsgi/uwsgi.ini").open("a") as file:
        # It would end the request first.
        file.write("harakiri = 60\n")
    with running(project, REQUEST_SECONDS="4") as server:
        server.workers()
        connection = UnixConnection(server.socket)
        connection.request("GET", "/hang")
        eventually(server.fifo.exists, seconds=20, what="the FIFO")
        began = monotonic()

        server.fifo.write_text("r")

        with pytest.raises((http.client.HTTPException, ConnectionError)):
            connection.getresponse()
        # uWSGI checks once a second.
        assert 3 <= monotonic() - began < 10


def test_application_that_cannot_be_loaded_ends_uwsgi(project: Path) -> None:
    write(project / "ops/wsgi_http.py", "import nothing_of_this_name")

    with running(project) as server:
        assert server.process.wait(30) == 22
        assert "nothing_of_this_name" in server.output()


def test_mistyped_option_ends_uwsgi(project: Path) -> None:
    with (project / "uwsgi/uwsgi.ini").open("a") as file:
        file.write("proceses = 3\n")

    with running(project) as server:
        assert server.process.wait(30) != 0
        assert "proceses" in server.output()
