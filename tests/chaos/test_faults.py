"""Processes of a server that are killed or hang under load."""

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
    check_failures,
    host_pid,
    is_in_service,
    seconds_to_recover,
)
from tests.chaos.reliability import Figures
from tests.stack.compose import APP_SERVER, Stack, uwsgi_only
from tests.stack.test_recovery import pid_of, processes

# Inside server1: kills the worker that runs a request for this path.
KILL_BUSY_WORKER = """
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


@pytest.mark.alone
@uwsgi_only
@pytest.mark.parametrize(
    ("work", "path", "posts"),
    [("a page", "/loadtest/slow/", 0), ("a write", "/loadtest/order/", 1)],
    ids=["page", "write"],
)
def test_killed_uwsgi_worker_fails_at_most_its_own_write(
    loaded: Stack, load: Load, figures: Figures, work: str, path: str, posts: int
) -> None:
    with load:
        load.warm_up()
        killed = int(loaded.python_in("server1", KILL_BUSY_WORKER.replace("{path}", path)))
        since = time.monotonic()
        seconds = seconds_to_recover(
            load, since, lambda: is_recovered(loaded, APP_SERVER, WORKERS, killed)
        )

    figures.add(
        f"kill -9 of a uWSGI worker that runs {work}",
        f"at most {posts} failed, none written twice; recovered within {RECOVERY_SECONDS} s",
        load,
        f"recovered after {seconds:.1f} s",
    )
    check_failures(load, posts=posts)
    check_writes(load, loaded)
    assert seconds <= RECOVERY_SECONDS


@pytest.mark.alone
@pytest.mark.skipif(APP_SERVER == "uwsgi", reason="uWSGI workers are killed during a known request")
def test_killed_gunicorn_worker_fails_at_most_one_write(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    with load:
        load.warm_up()
        parents = processes(loaded, APP_SERVER)
        killed = next(pid for pid, parent in parents.items() if parents.get(parent) == 1)
        since = time.monotonic()
        loaded.run_in("server1", "sh", "-c", f"kill -9 {killed}")
        seconds = seconds_to_recover(
            load, since, lambda: is_recovered(loaded, APP_SERVER, WORKERS, killed)
        )

    figures.add(
        "kill -9 of a gunicorn worker",
        f"at most 1 POST failed, none written twice; recovered within {RECOVERY_SECONDS} s",
        load,
        f"recovered after {seconds:.1f} s",
    )
    check_failures(load, posts=1)
    check_writes(load, loaded)
    assert seconds <= RECOVERY_SECONDS


@pytest.mark.alone
@pytest.mark.parametrize("program", [APP_SERVER, "nginx"])
def test_killed_master_fails_no_page(
    loaded: Stack, load: Load, figures: Figures, program: str
) -> None:
    master = pid_of(loaded, program)
    workers = sum(parent == master for parent in processes(loaded, program).values())
    with load:
        load.warm_up()
        since = time.monotonic()
        loaded.run_in("server1", "sh", "-c", f"kill -9 {master}")
        seconds = seconds_to_recover(
            load, since, lambda: is_recovered(loaded, program, workers, master)
        )

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


def is_recovered(stack: Stack, program: str, workers: int, killed: int) -> bool:
    """Return whether a master of server1 has all its workers again and the server answers."""
    parents = processes(stack, program)
    children = [child for child, parent in parents.items() if parents.get(parent) == 1]
    return killed not in parents and len(children) == workers and is_in_service(stack, "set1")


def test_docker_restarts_a_killed_server(loaded: Stack, load: Load, figures: Figures) -> None:
    """The process is killed from outside, as by the kernel when memory runs out."""
    pid = host_pid(loaded, "server1")
    if not can_kill(pid):
        reason = "this user cannot kill processes of the engine on this machine"
        # With REQUIRE_STACK_TESTS, this test is required too.
        (pytest.fail if os.environ.get("REQUIRE_STACK_TESTS") else pytest.skip)(reason)
    with load:
        load.warm_up()
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        seconds = seconds_to_recover(
            load,
            killed,
            lambda: host_pid(loaded, "server1") not in (0, pid) and is_in_service(loaded, "set1"),
        )

    figures.add(
        "kill -9 of server1's first process, which ends the container",
        f"0 GETs and at most {IN_FLIGHT} POSTs failed, none written twice; Docker restarts it",
        load,
        f"back in service after {seconds:.1f} s",
    )
    check_failures(load, posts=IN_FLIGHT)
    check_writes(load, loaded)


def can_kill(pid: int) -> bool:
    """Return whether this user can kill a container's process; not with Docker Desktop."""
    try:
        os.kill(pid, 0)
        return b"supervisord" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


# Runs inside server1, since HAProxy would choose the server.
REQUEST_HANGING_VIEW = """
from http.client import HTTPConnection
connection = HTTPConnection("127.0.0.1", 7999, timeout=60)
connection.request("GET", "/loadtest/hang")
print(connection.getresponse().status)
"""


def test_hanging_view_is_cut_off_while_the_other_server_answers(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    started = loaded.inspect("server1", "{{.State.StartedAt}}")
    with load:
        load.warm_up()
        since = time.monotonic()
        hanging = [start_python(loaded, "server1", REQUEST_HANGING_VIEW) for _ in range(WORKERS)]
        cut_off = [process.communicate(timeout=60)[0].strip() for process in hanging]
        seconds = seconds_to_recover(load, since, lambda: is_in_service(loaded, "set1"))

    waited = [o for o in load.outcomes if o.seconds > RECOVERY_SECONDS]
    figures.add(
        "a view that never ends, in every worker of server1",
        f"0 failed; at most {WORKERS} requests, sent before the health checks failed, wait for "
        "the hanging ones to be cut off (harakiri, 20 s); back in service automatically",
        load,
        f"{len(waited)} waited; back in service after {seconds:.1f} s",
    )
    assert cut_off == ["502"] * WORKERS
    check_failures(load, posts=0)
    check_writes(load, loaded)
    assert len(waited) <= WORKERS
    assert loaded.inspect("server1", "{{.State.StartedAt}}") == started


def start_python(stack: Stack, service: str, code: str) -> subprocess.Popen[str]:
    """Start Python code in the container of a service."""
    return subprocess.Popen(
        ["docker", "exec", stack.container(service), "python3", "-c", code],
        stdout=subprocess.PIPE,
        text=True,
    )
