"""Health checks, and the metrics command of the docs, ignore proxy variables."""

import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ops.metrics import PORT
from ops.worker.beats import STALE_SECONDS
from tests.ports import free_port
from tests.tree import ROOT


class Server:
    """A server with one response to every request."""

    status = 200

    def __init__(self) -> None:
        """Listen on a free port."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(f"asked for {self.path}".encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.server.shutdown()
    started.server.server_close()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program with the proxy variables that Docker can set in each container."""
    proxy = f"http://127.0.0.1:{free_port()}"
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")
    return subprocess.run(
        command,
        env=dict.fromkeys(names, proxy),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def run_health_check(name: str, port: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a health check on another port."""
    text, changed = re.subn(
        r"^(PORT = |port=)\d+$", rf"\g<1>{port}", (ROOT / name).read_text(), flags=re.MULTILINE
    )
    assert changed == 1
    script = folder / "healthcheck"
    script.write_text(text)
    script.chmod(0o755)
    return run(str(script))


@pytest.mark.parametrize("name", ["variants/nginx-balancer/healthcheck", "supervisor/healthcheck"])
def test_health_check_ignores_proxies_and_fails_when_its_server_does(
    name: str, server: Server, tmp_path: Path
) -> None:
    healthy = run_health_check(name, server.port, tmp_path)
    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "", "")

    # 404: it drains.
    for server.status in (503, 404, 301):
        failing = run_health_check(name, server.port, tmp_path)
        assert failing.returncode == 1
        assert f"answered {server.status}" in failing.stderr and "asked for /" in failing.stderr

    unreachable = run_health_check(name, free_port(), tmp_path)
    assert unreachable.returncode == 1
    assert "refused" in unreachable.stderr and "Traceback" not in unreachable.stderr


@pytest.mark.parametrize(
    ("age", "is_healthy"), [(0, True), (STALE_SECONDS, True), (STALE_SECONDS + 1, False)]
)
def test_worker_health_check_fails_after_the_same_time_as_healthz(
    tmp_path: Path, age: int, is_healthy: bool
) -> None:
    heartbeat, clock = tmp_path / "heartbeat", tmp_path / "date"
    heartbeat.touch()
    clock.write_text(f"#!/bin/sh\necho {int(heartbeat.stat().st_mtime) + age}\n")
    clock.chmod(0o755)

    done = check_worker(heartbeat, path=f"{tmp_path}:/usr/bin:/bin")

    assert (done.returncode == 0) is is_healthy
    assert ("was not seen for more than" in done.stderr) is not is_healthy


def test_worker_health_check_fails_without_a_heartbeat(tmp_path: Path) -> None:
    assert check_worker(tmp_path / "none").returncode == 1


def check_worker(heartbeat: Path, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    """Run the worker's health check."""
    return subprocess.run(
        [ROOT / "supervisor/worker-healthcheck"],
        env={"PATH": path, "WORKER_HEARTBEAT_FILE": str(heartbeat)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_metrics_command_of_the_monitoring_guide_works(server: Server) -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    (line,) = re.findall(r"`docker compose exec server2 (python .+)`", page)
    assert f'"server1", {PORT}' in line
    _, *arguments = shlex.split(line.replace(f'"server1", {PORT}', f'"127.0.0.1", {server.port}'))

    assert run(sys.executable, *arguments).stdout == "asked for /metrics\n"


# Accepts some users, and reports whether the server has a network.
MYSQL_CLIENT = """#!/bin/sh
for accepted in $ACCEPTS; do
    case "$MYSQL_PWD $*" in *"$accepted"*) exec echo "$NETWORKING" ;; esac
done
exit 1
"""
DOTENV = {"DB_USER": "shop", "DB_PASSWORD": "pa55"}


@pytest.mark.parametrize(
    ("environ", "healthy"),
    [
        ({"ACCEPTS": "--user=stackctl", "NETWORKING": "1"}, True),
        # The temporary server of the first start, which ends before any client could use it.
        ({"ACCEPTS": "--user=stackctl", "NETWORKING": "0"}, False),
        # Of an earlier release: only the application's user exists.
        ({"ACCEPTS": "--user=shop", "NETWORKING": "1"}, True),
        ({"ACCEPTS": "--user=shop", "NETWORKING": "0"}, False),
        ({"ACCEPTS": "", "NETWORKING": "1"}, False),
    ],
)
def test_mysql_health_check_waits_for_the_network(
    tmp_path: Path, environ: dict[str, str], healthy: bool
) -> None:
    (tmp_path / "mysql").write_text(MYSQL_CLIENT)
    (tmp_path / "mysql").chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"

    checked = subprocess.run(
        [ROOT / "mysql/healthcheck"], env={"PATH": path, **DOTENV, **environ}, check=False
    )

    assert (checked.returncode == 0) is healthy


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        ("PONG", True),
        # redis-cli succeeds with each of these.
        ("NOAUTH Authentication required.", False),
        ("LOADING Redis is loading the dataset in memory", False),
    ],
)
def test_redis_health_check_waits_for_the_data(tmp_path: Path, answer: str, healthy: bool) -> None:
    client = f'#!/bin/sh\n[ "$1 $2" = "--user shop" ] || exit 1\necho {answer!r}\n'
    (tmp_path / "redis-cli").write_text(client)
    (tmp_path / "redis-cli").chmod(0o755)

    checked = subprocess.run(
        [ROOT / "redis/healthcheck"],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            **{"REDIS_USERNAME": "shop", "REDIS_PASSWORD": "pa55"},
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.returncode == 0) is healthy
    assert (answer in checked.stderr) is not healthy


# remove_postgres: begin
@pytest.mark.parametrize(("answer", "healthy"), [("*", True), ("", False)])
def test_postgres_health_check_waits_for_the_network(
    tmp_path: Path, answer: str, healthy: bool
) -> None:
    """The temporary server of the first start listens on its socket alone."""
    # `rights` and the file that says that it ran are the container's.
    for name in ("psql", "rights", "touch"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (tmp_path / name).chmod(0o755)

    checked = subprocess.run(
        [ROOT / "variants/postgres/healthcheck"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "POSTGRES_USER": "postgres"},
        check=False,
    )

    assert (checked.returncode == 0) is healthy


# remove_postgres: end
