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
    RECOVERY_SECONDS,
    WORKERS,
    answers,
    check_failures,
    host_pid,
    recovered,
)
from tests.chaos.reliability import Figures
from tests.stack.compose import Stack
from tests.stack.test_recovery import pid_of, processes


@pytest.mark.parametrize(
    ("victim", "program", "posts"),
    [
        ("a uWSGI worker", "uwsgi", 1),
        # Its workers end with what they do; a worker that had none is gone at once.
        ("uWSGI's master", "uwsgi", WORKERS),
        ("nginx's master", "nginx", WORKERS),
    ],
)
def test_a_killed_process_costs_no_page(
    loaded: Stack, load: Load, figures: Figures, victim: str, program: str, posts: int
) -> None:
    master = pid_of(loaded, program)
    workers = [pid for pid, parent in processes(loaded, program).items() if parent == master]
    pid = workers[0] if "worker" in victim else master
    with load:
        load.warm_up()
        killed = time.monotonic()
        loaded.run_in("server1", "sh", "-c", f"kill -9 {pid}")

        def whole() -> bool:
            """Tell whether a master has all its workers again, and they answer."""
            found = processes(loaded, program)
            children = [child for child, parent in found.items() if found.get(parent) == 1]
            return pid not in found and len(children) == len(workers) and answers(loaded, "set1")

        seconds = recovered(load, killed, whole)

    figures.add(
        f"kill -9 of {victim}",
        f"0 GETs and at most {posts} POST(s) failed, none written twice; recovered within "
        f"{RECOVERY_SECONDS} s",
        load,
        f"recovered after {seconds:.1f} s",
    )
    check_failures(load, posts=posts)
    check_writes(load, loaded)
    assert seconds <= RECOVERY_SECONDS


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
        f"0 GETs and at most {WORKERS} POSTs failed, none written twice; started again by itself",
        load,
        f"back in service after {seconds:.1f} s",
    )
    check_failures(load, posts=WORKERS)
    check_writes(load, loaded)


def is_ours(pid: int) -> bool:
    """Tell whether a container's process can be killed from here: not with Docker Desktop."""
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
