"""Releases for the load tests: ./stackctl on their stack, with small changes to the tree."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.load import Load, Request
from tests.stack.compose import Stack
from tests.stack.test_live_edit import edited
from tests.waiting import eventually

SERVERS = ("server1", "server2")
# Enough for three requests of the slowest kind and hundreds of the others.
STEADY_SECONDS = 8.0
COMMAND_SECONDS = 500


def start_stackctl(stack: Stack, *arguments: str) -> subprocess.Popen[str]:
    """Start ./stackctl on this stack."""
    return subprocess.Popen(
        [sys.executable, "-m", "tools.stackctl", *arguments],
        cwd=stack.tree,
        env={**stack.environment, "COMPOSE_PROJECT_NAME": stack.project},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stackctl(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ./stackctl on this stack, and return its exit code and output."""
    process = start_stackctl(stack, *arguments)
    output, _ = process.communicate(timeout=COMMAND_SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def output_of(code: int, result: subprocess.CompletedProcess[str]) -> str:
    """Return the output of a command; assert its exit code and that it has no traceback."""
    assert result.returncode == code, result.stdout[-5000:]
    # The application may print a traceback; stackctl never does.
    assert "tools/stackctl/" not in result.stdout
    return result.stdout


def run_timed(stack: Stack, *arguments: str) -> float:
    """Run a command that must succeed, and return its seconds."""
    started = time.monotonic()
    output_of(0, stackctl(stack, *arguments))
    return time.monotonic() - started


@contextmanager
def changed_release(stack: Stack, name: str) -> Iterator[str]:
    """Change one module during the block, as the next release would."""
    old = '"""What this process'
    with edited(stack.tree / "ops" / "profile.py", old, f'"""Release {name}. {old[3:]}'):
        yield name


def releases_in_service(stack: Stack) -> dict[str, str]:
    """Return the release that each server answers with, through HAProxy."""
    releases: dict[str, str] = {}

    def ask() -> bool:
        profile = stack.profile()
        releases[profile["server"]] = profile["release"]
        return len(releases) == len(SERVERS)

    eventually(ask, seconds=60, what="both servers answer")
    return releases


def both_on(release: str) -> dict[str, str]:
    """Return the result of releases_in_service() when both servers run this release."""
    return {"set1": release, "set2": release}


def containers(stack: Stack) -> list[str]:
    """Return the containers of both servers."""
    return [stack.container(server) for server in SERVERS]


def request_kind(request: Request) -> str:
    """Return the kind of work that a request asks for; times are compared within a kind."""
    if request.method == "POST":
        return "write"
    return request.path.strip("/").replace("loadtest/", "").partition("/")[0]


def longest_by_kind(load: Load, since: float, until: float = float("inf")) -> dict[str, float]:
    """Return the seconds of the longest request of each kind started between two times."""
    seconds: dict[str, float] = {}
    for outcome in load.outcomes:
        if since <= outcome.started < until:
            name = request_kind(outcome.request)
            seconds[name] = max(seconds.get(name, 0.0), outcome.seconds)
    return seconds
