"""SLOW_PATHS in HAProxy and in a server's nginx: which workers get a page, and how many at once."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection

import pytest
import requests

from tests.stack.bench import SLOW_REQUEST_SECONDS, Bench, container
from tests.stack.compose import docker
from tests.waiting import eventually

# What nginx and HAProxy have to read alike. tests/stack/bench.py names the prefix.
SLOW, FAST = "slow", "application"
PATHS = {
    "/slow/who": SLOW,
    "/slow/who?q=/fast/": SLOW,
    "//slow///who": SLOW,
    "/%73low/who": SLOW,
    "/slow%2fwho": SLOW,
    "/slow/static/who": SLOW,
    "/slowly/who": FAST,
    "/Slow/who": FAST,
    "/who/slow/": FAST,
    "/who?/slow/": FAST,
}


@pytest.mark.parametrize(("path", "pool"), PATHS.items())
def test_nginx_and_haproxy_choose_the_same_workers(bench: Bench, path: str, pool: str) -> None:
    assert bench.get("nginx", path).text == pool

    identity = bench.get("haproxy", path).headers["X-Request-ID"]
    backend = eventually(
        lambda: backends(bench).get(identity), seconds=5, what="HAProxy logs the request"
    )
    assert backend == ("slow_backend" if pool == SLOW else "dynamic_backend")


def backends(bench: Bench) -> dict[str, str]:
    """Return the backend of each request that HAProxy has logged, by its id."""
    records = [json.loads(line) for line in bench.log("haproxy") if line.startswith('{"time')]
    return {record["request_id"]: record["backend"] for record in records}


def test_process_that_a_reload_replaces_sends_its_last_requests_to_the_same_backends(
    bench: Bench,
) -> None:
    """Connections that were open before the reload stay its own until their next response."""
    expected = {"/slow/who": "slow_backend", "/who": "dynamic_backend"}
    ids: dict[str, str] = {}
    with ExitStack() as opened:
        kept = {
            path: HTTPConnection("127.0.0.1", bench.ports["haproxy"], timeout=10)
            for path in expected
        }
        for connection in kept.values():
            opened.callback(connection.close)
            connection.request("GET", "/who")
            connection.getresponse().read()
        former = process(bench)
        docker("kill", "--signal", "USR2", container("haproxy"))
        eventually(lambda: process(bench) != former, seconds=20, what="another process serves")
        for path, connection in kept.items():
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (200, "close")
            ids[str(answer.getheader("X-Request-ID"))] = path

    def logged() -> dict[str, str]:
        known = backends(bench)
        return {path: known[identity] for identity, path in ids.items() if identity in known}

    assert (
        eventually(lambda: len(logged()) == 2 and logged(), seconds=5, what="both are logged")
        == expected
    )
    eventually(
        lambda: any(f"worker ({former}) exited" in line for line in bench.errors("haproxy")),
        # Its hard-stop-after also closes connections of earlier tests.
        seconds=70,
        what="the former process has ended, and writes no more lines",
    )
    bench.wait_for_all()


def process(bench: Bench) -> str:
    """Return the number of the HAProxy process that accepts connections."""
    page = requests.get(bench.stats.removesuffix(";csv"), auth=("u", "p"), timeout=10)
    number = re.search(r"pid = </b> *(\d+)", page.text)
    assert number
    return number[1]


def test_busy_slow_workers_refuse_slow_pages_and_leave_the_others_alone(bench: Bench) -> None:
    """Each of two servers has one slow worker here."""
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(bench.get, "haproxy", "/slow/sleep/3?busy") for _ in range(2)]
        eventually(
            lambda: sum("/slow/sleep/3?busy" in line for line in bench.received()) == 2,
            seconds=5,
            what="all slow workers are busy",
        )
        refused = pool.submit(bench.get, "haproxy", "/slow/who")
        fast = [bench.get("haproxy", "/who") for _ in range(20)]

        assert not any(one.done() for one in running)
        assert {answer.status_code for answer in fast} == {200}
        assert max(answer.elapsed.total_seconds() for answer in fast) < 1
        assert refused.result().status_code == 503
        assert refused.result().headers["Retry-After"] == "5"
        assert {one.result().text for one in running} == {"slept"}


def test_slow_page_of_a_hanging_server_is_answered_by_the_other(bench: Bench) -> None:
    """Long before its time limit: hanging.lua ends it there, and HAProxy sends it again."""
    docker("kill", "--signal", "STOP", container("server1"))
    try:
        with ThreadPoolExecutor(2) as pool:
            # One for each server.
            asked = [pool.submit(bench.get, "haproxy", "/slow/sleep/1?hang") for _ in range(2)]
            answers = [one.result() for one in asked]
    finally:
        docker("kill", "--signal", "CONT", container("server1"))
    bench.wait_for_all()

    assert {answer.text for answer in answers} == {"slept"}
    assert max(answer.elapsed.total_seconds() for answer in answers) < SLOW_REQUEST_SECONDS / 2
