"""The health checks of the proxies: which servers get requests, and how soon that changes."""

import csv
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from tests.stack.bench import NAME, SERVERS, Bench, container
from tests.stack.compose import STACK_NAME, docker
from tests.stack.test_trusted_proxies import haproxy
from tests.waiting import eventually
from tools.stackctl.balancer.haproxy import Balancer

# Files of a scripted server: the status of its probes, and how many seconds late they are.
DRAINS, DELAY = "/tmp/drains", "/tmp/delay"
# Where HAProxy's probes are listed: the moment, the path and the status of each response.
PROBES = "/tmp/probes"
PATHS = {"dynamic_backend": "/readyz", "static_backend": "/readyz/files"}


def drain(bench: Bench, server: str, status: str) -> None:
    """Have the probes of a scripted server answer with this status."""
    # The file appears whole.
    script = 'echo "$0" >/tmp/status; mv /tmp/status /tmp/drains'
    bench.exec(server, "sh", "-c", script, status)


def file_servers(bench: Bench) -> set[str]:
    """Return the servers that send files; Apache has none."""
    answers = [bench.get("haproxy", "/static/who") for _ in range(9)]
    return {answer.text for answer in answers if answer.status_code == 200}


@pytest.mark.parametrize(
    ("status", "shown"), [("404 Not Found", "NOLB"), ("301 Moved Permanently", "DOWN")]
)
def test_server_whose_probe_does_not_answer_200_gets_no_new_request(
    bench: Bench, status: str, shown: str
) -> None:
    """HAProxy and Apache return it to service when its probe succeeds again.

    The stats page distinguishes a server that drains from one that fails.
    """
    drain(bench, "server1", status)
    try:
        for proxy in ("haproxy", "apache"):
            bench.wait_until_balanced(proxy, "server2")
        # The backend of long bodies tracks the same health checks.
        uploads = [bench.request("POST", "haproxy", "/who", data=bytes(40_000)) for _ in range(4)]
        assert {answer.text for answer in uploads} == {"server2"}
        # The backend of files has its own.
        eventually(
            lambda: file_servers(bench) == {"server2"},
            seconds=10,
            what="the other server sends all files",
        )
        assert {r["status"] for r in bench.rows() if r["svname"] == "server1"} == {shown}
    finally:
        bench.exec("server1", "rm", DRAINS)
    bench.wait_for_all()


@contextmanager
def without_servers(bench: Bench) -> Iterator[None]:
    """Have no server for HAProxy in service during the block."""
    for server in SERVERS:
        drain(bench, server, "404 Not Found")
    try:
        docker("stop", "--timeout", "0", container("apache"))
        eventually(
            lambda: not any(state.startswith("UP") for state in bench.states()),
            seconds=15,
            what="no server is up",
        )
        yield
    finally:
        for server in SERVERS:
            bench.exec(server, "rm", DRAINS)
        docker("start", container("apache"))
    bench.wait_for_all()


def test_haproxy_health_check_fails_when_no_server_is_up(bench: Bench) -> None:
    check = ["docker", "exec", container("haproxy"), "/config/healthcheck"]
    assert subprocess.run(check, check=False).returncode == 0
    with without_servers(bench):
        assert subprocess.run(check, check=False, capture_output=True).returncode == 1
        # No server sends the page or the file, and clients may ask again soon.
        for path in ("/who", "/static/who"):
            answer = bench.get("haproxy", path)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert json.loads(answer.text).keys() == {"detail"}
            assert answer.headers["Cache-Control"] == "no-store"
    assert subprocess.run(check, check=False).returncode == 0


def probes(bench: Bench, path: str, status: str, after: float) -> list[float]:
    """Return the moments of HAProxy's probes of server1 that got a status after a moment."""
    rows = [line.split(maxsplit=2) for line in bench.exec("server1", "cat", PROBES).splitlines()]
    at = [(float(row[0]), row[1], row[2]) for row in rows]
    return [moment for moment, *rest in at if rest == [path, status] and moment > after]


def three_probes(bench: Bench, backend: str, status: str, after: float) -> list[float]:
    """Return the moments of the first three probes with a status after a moment."""

    def first() -> list[float]:
        moments = probes(bench, PATHS[backend], status, after)[:3]
        return moments if len(moments) == 3 else []

    return eventually(first, seconds=20, what=f"three probes get {status}")


@pytest.mark.parametrize("backend", PATHS)
def test_haproxy_acts_on_the_second_failed_or_good_check(bench: Bench, backend: str) -> None:
    """It checks once a second, and sooner while a server's state changes."""
    now = float(bench.exec("server1", "cut", "-d ", "-f1", "/proc/uptime"))
    drain(bench, "server1", "500 Internal Server Error")
    try:
        failed = three_probes(bench, backend, "500 Internal Server Error", now)
    finally:
        bench.exec("server1", "rm", DRAINS)
    good = three_probes(bench, backend, "200 OK", failed[-1])
    bench.wait_for_all()

    for moments in (failed, good):
        first, second = (late - early for early, late in pairwise(moments))
        assert first < 0.6 < second < 1.6, (failed, good)


def test_server_whose_probe_is_late_by_two_seconds_stays_in_service(bench: Bench) -> None:
    """As where all workers are busy."""
    bench.exec("server1", "sh", "-c", f"echo 2 >{DELAY}.new; mv {DELAY}.new {DELAY}")
    try:

        def row() -> dict[str, str]:
            (one,) = (
                row
                for row in bench.rows()
                if (row["pxname"], row["svname"]) == ("dynamic_backend", "server1")
            )
            return one

        eventually(
            lambda: int(row()["check_duration"] or 0) >= 2000, seconds=15, what="a late probe"
        )
        assert (row()["status"], row()["check_status"]) == ("UP", "L7OK")
    finally:
        bench.exec("server1", "rm", DELAY)
    bench.wait_for_all()


@contextmanager
def refusing_server(tree: Path) -> Iterator[tuple[str, Balancer]]:
    """Run a HAProxy with a third server, whose address refuses connections from now on.

    Yield its URL, and its runtime API.
    """
    holder = ("--network", NAME, "--network-alias", "server3", "--entrypoint", "sleep")
    docker("run", "--detach", "--name", container("server3"), *holder, f"{STACK_NAME}-base", "300")
    upstream = ("--network", f"container:{container('server3')}", "--entrypoint", "python3")
    project = ("--volume", f"{tree}:/srv/project:ro", f"{STACK_NAME}-base")
    script = ("-u", "/srv/project/tests/stack/upstream.py", "server3")
    docker("run", "--detach", "--name", container("listens"), *upstream, *project, *script)
    try:
        with haproxy("refusals", tree, SERVER_COUNT="3") as port:
            balancer = Balancer(container("refusals"))
            eventually(lambda: balancer.servers()["server3"].up, seconds=20, what="server3 is up")
            docker("kill", container("listens"))
            yield f"http://127.0.0.1:{port}", balancer
    finally:
        docker("rm", "--force", "--volumes", container("listens"), container("server3"))


def sent_elsewhere(balancer: Balancer) -> dict[str, int]:
    """Return how many requests for server3 each backend has sent to another server."""
    text = balancer.command("show stat").removeprefix("# ")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["svname"] == "server3"]
    return {row["pxname"]: int(row["wredis"]) for row in rows}


def test_first_refused_connection_takes_a_server_out(bench: Bench, tree: Path) -> None:
    """A server that refuses is always free: until a check sees it, most tries would go there."""
    with refusing_server(tree) as (url, balancer):
        urls = [f"{url}{path}" for path in ("/who", "/static/who")]
        answers = {requests.get(one, timeout=10).text for _ in range(30) for one in urls}
        moved = sent_elsewhere(balancer)

    assert answers == {*SERVERS}
    # Of each backend; none where a check was first.
    assert len(moved) == 3 and max(moved.values()) <= 1, moved


def test_haproxy_sends_a_refused_upload_to_another_server(bench: Bench, tree: Path) -> None:
    """With `leastconn` it would try the same server again."""
    with refusing_server(tree) as (url, balancer):
        answers = {
            requests.post(f"{url}/who", data=bytes(40_000), timeout=30).text for _ in range(6)
        }
        moved = sent_elsewhere(balancer)

    assert answers == {*SERVERS}
    assert moved["upload_backend"] >= 1
