"""Processes of a running server that are killed or hang while visitors are there."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.chaos.conftest import check_writes
from tests.chaos.load import Load
from tests.chaos.recovery import (
    IN_FLIGHT,
    RECOVERY_SECONDS,
    WORKERS,
    answers,
    check_failures,
    host_pid,
    recovered,
)
from tests.chaos.reliability import Figures
from tests.stack.compose import APP_SERVER, Stack, uwsgi_alone
from tests.stack.test_recovery import pid_of, processes

# Inside server1: kills the worker that runs a request of this path, soon after it began.
KILL_AT_WORK = """
import json, os, signal, socket, time
while True:
    with socket.socket(socket.AF_UNIX) as stats:
        stats.connect("/run/mysite/uwsgi-stats.sock")
        workers = json.load(stats.makefile())["workers"]
    busy = [w["pid"] for w in workers for core in w["cores"] if "{path}" in str(core.get("vars"))]
    if busy:
        os.kill(busy[0], signal.SIGKILL)
        print(busy[0])
        break
    time.sleep(0.01)
"""


@uwsgi_alone
@pytest.mark.parametrize(
    ("work", "path", "posts"),
    [("a page", "/loadtest/slow/", 0), ("a write", "/loadtest/order/", 1)],
)
def test_a_worker_killed_at_its_work(
    loaded: Stack, load: Load, figures: Figures, work: str, path: str, posts: int
) -> None:
    with load:
        load.warm_up()
        killed = int(loaded.python_in("server1", KILL_AT_WORK.replace("{path}", path)))
        since = time.monotonic()
        seconds = recovered(load, since, lambda: whole(loaded, APP_SERVER, WORKERS, killed))

    figures.add(
        f"kill -9 of a uWSGI worker that runs {work}",
        f"at most {posts} failed, none written twice; recovered within {RECOVERY_SECONDS} s",
        load,
        f"recovered after {seconds:.1f} s",
    )
    check_failures(load, posts=posts)
    check_writes(load, loaded)
    assert seconds <= RECOVERY_SECONDS


@pytest.mark.skipif(APP_SERVER != "gunicorn", reason="uWSGI's workers are killed at known work")
def test_a_worker_of_gunicorn_s_is_killed(loaded: Stack, load: Load, figures: Figures) -> None:
    with load:
        load.warm_up()
        found = processes(loaded, APP_SERVER)
        killed = next(pid for pid, parent in found.items() if found.get(parent) == 1)
        since = time.monotonic()
        loaded.run_in("server1", "sh", "-c", f"kill -9 {killed}")
        seconds = recovered(load, since, lambda: whole(loaded, APP_SERVER, WORKERS, killed))

    figures.add(
        "kill -9 of a gunicorn worker",
        f"at most 1 POST failed, none written twice; recovered within {RECOVERY_SECONDS} s",
        load,
        f"recovered after {seconds:.1f} s",
    )
    check_failures(load, posts=1)
    check_writes(load, loaded)
    assert seconds <= RECOVERY_SECONDS


@pytest.mark.parametrize("program", [APP_SERVER, "nginx"])
def test_a_killed_master_costs_no_page(
    loaded: Stack, load: Load, figures: Figures, program: str
) -> None:
    master = pid_of(loaded, program)
    workers = sum(parent == master for parent in processes(loaded, program).values())
    with load:
        load.warm_up()
        since = time.monotonic()
        loaded.run_in("server1", "sh", "-c", f"kill -9 {master}")
        seconds = recovered(load, since, lambda: whole(loaded, program, workers, master))

    figures.add(
        f"kill -9 of {program}'s master",
        f"0 GETs and at most {WORKERS} POSTs failed, none written twice; recovered within "
        f"{RECOVERY_SECONDS} s",
        load,
        f"recovered after {seconds:.1f} s",
    )
    check_failures(load, posts=WORKERS)
    check_writes(load, loaded)
    assert seconds <= RECOVERY_SECONDS


def whole(stack: Stack, program: str, workers: int, killed: int) -> bool:
    """Return whether a master of server1 has all its workers again, and they answer."""
    found = processes(stack, program)
    children = [child for child, parent in found.items() if found.get(parent) == 1]
    return killed not in found and len(children) == workers and answers(stack, "set1")


def test_a_killed_container_is_started_by_docker(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    """Killed from outside its own namespace, as the kernel kills for want of memory."""
    pid = host_pid(loaded, "server1")
    if not is_ours(pid):
        reason = "the engine's processes are not this machine's, or not this user's to kill"
        # Where the container tests are required, this one is too.
        (pytest.fail if os.environ.get("REQUIRE_STACK_TESTS") else pytest.skip)(reason)
    with load:
        load.warm_up()
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        seconds = recovered(
            load,
            killed,
            lambda: host_pid(loaded, "server1") not in (0, pid) and answers(loaded, "set1"),
        )

    figures.add(
        "kill -9 of server1's first process, which ends the container",
        f"0 GETs and at most {IN_FLIGHT} POSTs failed, none written twice; started again by itself",
        load,
        f"back in service after {seconds:.1f} s",
    )
    check_failures(load, posts=IN_FLIGHT)
    check_writes(load, loaded)


def is_ours(pid: int) -> bool:
    """Return whether a container's process can be killed from here: not with Docker Desktop."""
    try:
        os.kill(pid, 0)
        return b"supervisord" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


# Asks server1 itself, from inside: HAProxy would choose.
HANG = """
from http.client import HTTPConnection
connection = HTTPConnection("127.0.0.1", 7999, timeout=60)
connection.request("GET", "/loadtest/hang")
print(connection.getresponse().status)
"""


def test_a_view_that_hangs_is_cut_off_while_the_other_server_answers(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    started = loaded.inspect("server1", "{{.State.StartedAt}}")
    with load:
        load.warm_up()
        since = time.monotonic()
        hanging = [ask_inside(loaded, "server1", HANG) for _ in range(WORKERS)]
        cut_off = [asking.communicate(timeout=60)[0].strip() for asking in hanging]
        seconds = recovered(load, since, lambda: answers(loaded, "set1"))

    waited = [o for o in load.outcomes if o.seconds > RECOVERY_SECONDS]
    figures.add(
        "a view that never ends, in every worker of server1",
        f"0 failed; at most {WORKERS} requests, handed over before the checks saw it, waited for "
        "the hanging ones to be cut off (harakiri, 20 s); in service again by itself",
        load,
        f"{len(waited)} waited; back in service after {seconds:.1f} s",
    )
    assert cut_off == ["502"] * WORKERS
    check_failures(load, posts=0)
    check_writes(load, loaded)
    assert len(waited) <= WORKERS
    assert loaded.inspect("server1", "{{.State.StartedAt}}") == started


def ask_inside(stack: Stack, service: str, code: str) -> subprocess.Popen[str]:
    """Start Python code in a service's container."""
    return subprocess.Popen(
        ["docker", "exec", stack.container(service), "python3", "-c", code],
        stdout=subprocess.PIPE,
        text=True,
    )
