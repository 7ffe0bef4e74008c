"""Releases for the load tests: ./stackctl on their stack, from trees that differ a little."""

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
# Three requests of the slowest kind, hundreds of the others.
STEADY_SECONDS = 8.0
COMMAND_SECONDS = 500


def start(stack: Stack, *arguments: str) -> subprocess.Popen[str]:
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
    """Run ./stackctl on this stack and return how it ended."""
    process = start(stack, *arguments)
    output, _ = process.communicate(timeout=COMMAND_SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def ends(code: int, result: subprocess.CompletedProcess[str]) -> str:
    """Return what a command printed; it must have ended with this code, without a traceback."""
    assert result.returncode == code, result.stdout[-5000:]
    # The application may show one; stackctl itself never does.
    assert "tools/stackctl/" not in result.stdout
    return result.stdout


def timed(stack: Stack, *arguments: str) -> float:
    """Run a command that must succeed, and return the seconds that it took."""
    started = time.monotonic()
    ends(0, stackctl(stack, *arguments))
    return time.monotonic() - started


@contextmanager
def another_release(stack: Stack, name: str) -> Iterator[str]:
    """Change one module for the block's time, as the next release would."""
    old = '"""What this process'
    with edited(stack.tree / "ops" / "profile.py", old, f'"""Release {name}. {old[3:]}'):
        yield name


def answering(stack: Stack) -> dict[str, str]:
    """Return the release that each server answers with, through HAProxy."""
    found: dict[str, str] = {}

    def ask() -> bool:
        profile = stack.profile()
        found[profile["server"]] = profile["release"]
        return len(found) == len(SERVERS)

    eventually(ask, seconds=60, what="both servers answer")
    return found


def all_on(release: str) -> dict[str, str]:
    """Return what answering() gives when every server runs one release."""
    return {"set1": release, "set2": release}


def containers(stack: Stack) -> list[str]:
    """Return both servers' containers."""
    return [stack.container(server) for server in SERVERS]


def kind(request: Request) -> str:
    """Return what a request's time is compared with: others that ask for the same work."""
    if request.method == "POST":
        return "write"
    return request.path.strip("/").replace("loadtest/", "").partition("/")[0]


def longest(load: Load, since: float, until: float = float("inf")) -> dict[str, float]:
    """Return the longest request of each kind among those begun between two moments, in seconds."""
    found: dict[str, float] = {}
    for outcome in load.outcomes:
        if since <= outcome.started < until:
            name = kind(outcome.request)
            found[name] = max(found.get(name, 0.0), outcome.seconds)
    return found
