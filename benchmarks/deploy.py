"""`stackctl deploy` on a production stack of its own, while a few visitors are there."""

import json
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from benchmarks.engine import EngineError, docker
from benchmarks.stack import ROOT, compose_environment
from benchmarks.visitors import Outcome, visitors

# How long the visitors are watched before the deploy, to compare with.
STEADY_SECONDS = 5
COMMAND_SECONDS = 600
# A step that is done, in stackctl's log: the time, what was done, how long it took.
STEP = re.compile(r"^\S+Z (.+) \((\d+\.\d) s\)$", re.MULTILINE)
DRAINING = ": draining"
# Besides the drains, which last as long as the visitors' requests.
AIM_SECONDS = 20.0


@dataclass(frozen=True)
class Deploy:
    """What one deploy of both servers took, and what its visitors saw.

    Attributes:
        seconds: of the whole deploy without the build, as stackctl's record has it.
        drain_seconds: of them, until the servers' last requests had ended.
        requests: asked for while it ran.
        failed: of them, without a good answer.
        longest_ms: the longest of them.
        longest_before_ms: the longest request of the seconds before.

    """

    seconds: float
    drain_seconds: float
    requests: int
    failed: int
    longest_ms: float
    longest_before_ms: float

    @property
    def met(self) -> bool:
        """Tell whether it was as quick as the project wants it to be."""
        return self.seconds - self.drain_seconds <= AIM_SECONDS


class ReleaseStack:
    """The whole production stack, which stackctl runs; nothing of it is anybody else's."""

    def __init__(self) -> None:
        self.project = f"mysite-bench-{secrets.token_hex(3)}"
        self.port = _free_port()
        self._env = compose_environment(self.project) | {
            "COMPOSE_FILE": str(ROOT / "docker-compose.yaml"),
            "STACK_NAME": self.project,
            "HTTP_ADDRESS": "127.0.0.1",
            "HTTP_PORT": str(self.port),
            "STATS_PORT": str(_free_port()),
            # Not the developer's .env, in stackctl's own checks either.
            "DJANGO_READ_DOTENV": "false",
        }

    def stackctl(self, *arguments: str) -> str:
        """Run a command of stackctl and return what it printed.

        Raises:
            EngineError: it failed; the message is the end of what it said.

        """
        done = subprocess.run(
            [sys.executable, "-m", "stackctl_cli", *arguments],
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            raise EngineError(f"stackctl {arguments[0]} failed:\n{done.stdout[-4000:]}")
        return done.stdout

    def last_recorded_seconds(self) -> float:
        """Return how long the last attempt took without its build, from stackctl's record."""
        record = json.loads(self.stackctl("releases", "--json"))
        return float(record["releases"][0]["seconds"])

    def remove(self) -> None:
        """Remove containers, networks, volumes, images and the record of this project."""
        down = ("down", "--volumes", "--remove-orphans", "--timeout", "0")
        docker(["compose", "--progress", "quiet", *down], env=self._env, timeout=120)
        for image in set(docker(["image", "ls", "--quiet", f"{self.project}-*"]).split()):
            with suppress(EngineError):
                docker(["image", "rm", "--force", image])
        shutil.rmtree(ROOT / "var" / "stackctl" / self.project, ignore_errors=True)


@contextmanager
def running_release() -> Iterator[ReleaseStack]:
    """Build and start the stack; whatever happens, remove it again."""
    stack = ReleaseStack()
    try:
        stack.stackctl("up")
        yield stack
    finally:
        stack.remove()


def measure_deploy(say: Callable[[str], None]) -> Deploy:
    """Bring a further release into service while visitors are there.

    Args:
        say: is told what goes on.

    Raises:
        EngineError: the stack did not start, or the release failed.

    """
    with running_release() as stack:
        say("Deploying both servers of a stack of its own, with visitors.")
        with visitors(stack.port) as found:
            found.over.wait(STEADY_SECONDS)
            begun = time.monotonic()
            log = stack.stackctl("deploy", "--release", "bench")
        return figures(found.outcomes, begun, log, stack.last_recorded_seconds())


def figures(outcomes: list[Outcome], begun: float, log: str, seconds: float) -> Deploy:
    """Put together what was seen.

    Args:
        outcomes: the requests before and during the deploy.
        begun: when it was begun, in seconds of the monotonic clock.
        log: what stackctl printed.
        seconds: how long it took without the build.

    """
    during = [outcome for outcome in outcomes if outcome.started >= begun]
    before = [outcome for outcome in outcomes if outcome.started < begun]
    return Deploy(
        seconds=seconds,
        drain_seconds=sum(t for step, t in parse_steps(log) if step.endswith(DRAINING)),
        requests=len(during),
        failed=sum(not outcome.good for outcome in during),
        longest_ms=_longest_ms(during),
        longest_before_ms=_longest_ms(before),
    )


def parse_steps(log: str) -> list[tuple[str, float]]:
    """Return the steps of stackctl's log that were done, each with its seconds."""
    return [(step, float(seconds)) for step, seconds in STEP.findall(log)]


def _longest_ms(outcomes: list[Outcome]) -> float:
    return max((outcome.seconds for outcome in outcomes), default=0.0) * 1000


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
