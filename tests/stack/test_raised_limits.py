"""A server container with raised UPLOAD_MAX_MB and REQUEST_SECONDS.

For the limits of the proxies, see tests/stack/test_timeouts.py and test_error_pages.py.
"""

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest
import requests

from ops.threads import DaemonThreads
from tests.ports import free_port
from tests.stack.compose import Stack, docker
from tests.waiting import eventually

REQUEST_SECONDS, UPLOAD_MAX_MB, SLOW_REQUEST_SECONDS = 33, 37, 37
# What a page that hangs gets, and how many seconds after its limit. With asgi, nginx alone ends it.
HANGING = {"uwsgi": (502, 0), "gunicorn": (502, 0), "asgi": (504, 5)}
APP_SERVERS = tuple(HANGING)
# Enough that at least one of the two workers of asgi has too many (ops/hanging.py).
HANGING_PAGES = 20
# The memory of a server, which is less than all uploads together, and than a download.
MEMORY, UPLOADS, DOWNLOAD_MB = "400m", 12, 500
# How many connections the slow workers have.
SLOW_CONNECTIONS = "grep -c ' 03 .*/run/mysite/slow.sock' /proc/net/unix || true"


def start(production: Stack, name: str, **variables: str) -> str:
    """Start a server of the production image with these variables; return its URL."""
    port = free_port()
    values = {
        "DJANGO_SETTINGS_MODULE": "loadtest.settings",
        "DJANGO_SECRET_KEY": production.environment["DJANGO_SECRET_KEY"],
        "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
        "DJANGO_SECURE_SSL_REDIRECT": "false",
        "DATABASE_URL": "sqlite:////tmp/db.sqlite3",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DRAIN_SECONDS": "0",
        "SLOW_PATHS": "/loadtest/reports/",
        **variables,
    }
    docker(
        *("run", "--detach", "--name", name),
        *("--memory", MEMORY, "--read-only", "--volume", "/srv/bodies"),
        *("--tmpfs", "/tmp", "--tmpfs", "/run/mysite:uid=10001,gid=10001"),
        *("--volume", f"{production.tree}/tests/chaos/loadtest:/srv/project/loadtest:ro"),
        *(word for key, value in values.items() for word in ("--env", f"{key}={value}")),
        *("--publish", f"127.0.0.1:{port}:7999", production.image),
    )
    return f"http://127.0.0.1:{port}"


@contextmanager
def started(production: Stack, suffix: str, **variables: str) -> Iterator[dict[str, str]]:
    """Run a server with each application server during the block; yield their URLs."""
    names = {one: f"{container(production, one)}{suffix}" for one in APP_SERVERS}
    try:
        urls = {
            one: start(production, name, APP_SERVER=one, **variables) for one, name in names.items()
        }
        eventually(
            lambda: all(requests.get(f"{url}/livez", timeout=5).ok for url in urls.values()),
            seconds=60,
            what="all answer",
        )
        yield urls
    finally:
        docker("rm", "--force", "--volumes", *names.values())


@pytest.fixture(scope="module")
def servers(production: Stack) -> Iterator[dict[str, str]]:
    """Start a server with each application server; yield their URLs."""
    limits = {
        "REQUEST_SECONDS": str(REQUEST_SECONDS),
        "UPLOAD_MAX_MB": str(UPLOAD_MAX_MB),
        "SLOW_REQUEST_SECONDS": str(SLOW_REQUEST_SECONDS),
    }
    with started(production, "", **limits) as urls:
        yield urls


def container(stack: Stack, app_server: str) -> str:
    """Return the name of the container of a server."""
    return f"{stack.project}-raised-{app_server}"


def logs(name: str) -> str:
    """Return what the programs of a container have printed."""
    command = ["docker", "logs", name]
    output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    return output.stdout.decode()


def send(url: str, size: int) -> requests.Response:
    """Upload a file of this size."""
    return requests.post(f"{url}/loadtest/upload", files={"file": bytes(size)}, timeout=60)


def test_concurrent_uploads_are_buffered_on_disk_not_in_memory(
    production: Stack, servers: dict[str, str]
) -> None:
    """All uploads together are larger than the memory of the container."""
    size = UPLOAD_MAX_MB * 1_000_000
    assert UPLOADS * size > 400 * 2**20
    for app_server, url in servers.items():
        name = container(production, app_server)
        with ThreadPoolExecutor(UPLOADS) as pool:
            answers = list(pool.map(lambda _, url=url: send(url, size), range(UPLOADS)))

        assert [answer.json() for answer in answers] == [{"bytes": size}] * UPLOADS
        assert docker("inspect", "--format", "{{.State.OOMKilled}}", name) == "false"
        assert "killed" not in logs(name)
        # No body is left on the disk, and only the application user may read the folder.
        assert docker("exec", name, "find", "/srv/bodies", "-type", "f") == ""
        assert docker("exec", name, "stat", "-c", "%U %a", "/srv/bodies") == "mysite 700"

        refused = send(url, size + 4_000_000)
        assert refused.status_code == 413
        assert f"the limit is {UPLOAD_MAX_MB} MB" in refused.json()["detail"]


def test_download_larger_than_the_memory_is_sent_in_pieces(
    production: Stack, servers: dict[str, str]
) -> None:
    for app_server, url in servers.items():
        with requests.get(f"{url}/loadtest/download/{DOWNLOAD_MB}", stream=True, timeout=60) as got:
            size = sum(len(piece) for piece in got.iter_content(2**20))

        name = container(production, app_server)
        assert size == DOWNLOAD_MB * 2**20, app_server
        assert docker("inspect", "--format", "{{.State.OOMKilled}}", name) == "false", app_server
        assert "SIGKILL" not in logs(name), app_server


def ask(url: str) -> tuple[int, float]:
    """Return the status of a page, and how many seconds it took."""
    begun = time.monotonic()
    return requests.get(url, timeout=60).status_code, time.monotonic() - begun


@pytest.fixture(scope="module")
def hanging_pages(servers: dict[str, str]) -> None:
    """Have pages hang in both workers of asgi; requested early, as that takes a minute."""
    threads = DaemonThreads()
    for _ in range(HANGING_PAGES):
        threads.submit(ask, f"{servers['asgi']}/loadtest/hang")


@pytest.mark.usefixtures("hanging_pages")
def test_request_may_take_request_seconds_and_slow_paths_longer(servers: dict[str, str]) -> None:
    """A longer request gets an error."""
    limits = {
        "/loadtest/slow/30000": 0,
        "/loadtest/hang": REQUEST_SECONDS,
        f"/loadtest/reports/{REQUEST_SECONDS + 2}000": 0,
        "/loadtest/reports/hang": SLOW_REQUEST_SECONDS,
    }
    pages = [(one, path, limit) for path, limit in limits.items() for one in servers]
    with ThreadPoolExecutor(len(pages)) as pool:
        answers = list(pool.map(ask, (f"{servers[one]}{path}" for one, path, _ in pages)))

    for (one, path, limit), (status, took) in zip(pages, answers, strict=True):
        expected, late = HANGING[one]
        assert status == (expected if limit else 200), (one, path)
        # uWSGI and gunicorn check once a second, and a busy machine is slow.
        assert not limit or limit + late - 1 <= took < limit + late + 5, (one, path)


def test_slow_pages_keep_no_worker_of_other_pages(servers: dict[str, str]) -> None:
    """All slow workers are busy, and other pages are sent at a fixed rate."""
    reports = [f"{url}/loadtest/reports/4000" for url in servers.values()] * 2
    with ThreadPoolExecutor(40) as pool:
        running = [pool.submit(ask, url) for url in reports]
        fast = []
        for _ in range(15):
            time.sleep(0.1)
            fast += [pool.submit(ask, f"{url}/livez") for url in servers.values()]
        assert not any(one.done() for one in running)
        answers = [one.result() for one in fast]

        assert {status for status, _ in answers} == {200}
        assert max(took for _, took in answers) < 2
        assert {one.result()[0] for one in running} == {200}


def runs_slow_page(name: str) -> bool:
    """Return whether a slow worker of this container has a request."""
    return docker("exec", name, "sh", "-c", SLOW_CONNECTIONS).strip() != "0"


def test_stop_waits_for_a_running_slow_page(production: Stack) -> None:
    """It runs for longer than workers have to end once nginx has ended (APP_STOP_SECONDS)."""
    limits = {"REQUEST_SECONDS": "20", "SLOW_REQUEST_SECONDS": "45"}
    names = [f"{container(production, one)}-stop" for one in APP_SERVERS]
    with (
        started(production, "-stop", **limits) as urls,
        ThreadPoolExecutor(len(urls)) as pool,
    ):
        running = [pool.submit(ask, f"{url}/loadtest/reports/30000") for url in urls.values()]
        for name in names:
            eventually(partial(runs_slow_page, name), seconds=5, what="the slow page runs")
        docker("stop", "--timeout", "90", *names)

        assert [one.result()[0] for one in running] == [200] * len(names)
        codes = docker("inspect", "--format", "{{.State.ExitCode}}", *names)
        assert set(codes.split()) == {"0"}


@pytest.mark.usefixtures("hanging_pages")
def test_asgi_worker_with_many_hanging_pages_is_replaced(
    production: Stack, servers: dict[str, str]
) -> None:
    name = container(production, "asgi")
    eventually(
        lambda: "was sent SIGABRT" in logs(name),
        seconds=2 * REQUEST_SECONDS + 20,
        what="a worker has ended",
    )
    assert "pages hang in this worker" in logs(name)
    assert ask(f"{servers['asgi']}/livez")[0] == 200
