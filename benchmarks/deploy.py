"""`stackctl deploy` under a light load."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.release import ReleaseStack
from benchmarks.stops import watched_stops
from benchmarks.visitors import VisitorAnswer, visitors

# Seconds of load before the deploy, for comparison.
STEADY_SECONDS = 5
# A finished step in the log of stackctl: time, step, seconds.
STEP = re.compile(r"^\S+Z (.+) \((\d+\.\d) s\)$", re.MULTILINE)
DRAINING = ": draining"
# Without the drains, which last as long as running requests.
AIM_SECONDS = 20.0


@dataclass(frozen=True)
class Deploy:
    """The duration of a deploy of both servers, and its requests.

    Attributes:
        seconds: the whole deploy without the build, from the record of stackctl.
        drain_seconds: the part in which HAProxy waited for running requests.
        stop_seconds: the part in which containers stopped gracefully.
        requests: requests during the deploy.
        failed: failed requests during the deploy.
        longest_ms: the longest request during the deploy.
        longest_before_ms: the longest request in the seconds before.

    """

    seconds: float
    drain_seconds: float
    stop_seconds: float
    requests: int
    failed: int
    longest_ms: float
    longest_before_ms: float

    @property
    def besides_drains(self) -> float:
        """Return the seconds without draining in HAProxy and in the containers."""
        return self.seconds - self.drain_seconds - self.stop_seconds

    @property
    def met(self) -> bool:
        """Return whether the deploy met the aim."""
        return self.besides_drains <= AIM_SECONDS


def measure_deploy(stack: ReleaseStack, say: Callable[[str], None]) -> Deploy:
    """Deploy a release under load.

    Args:
        stack: the running stack.
        say: receives progress messages.

    Raises:
        EngineError: the release failed.

    """
    say("Deploying both servers of a whole stack, with visitors.")
    with visitors(stack.port) as load, watched_stops(stack.project) as stops:
        load.over.wait(STEADY_SECONDS)
        begun = time.monotonic()
        log = stack.stackctl("deploy", "--release", "bench")
    seconds = stack.last_recorded_seconds()
    return figures(load.outcomes, begun, log, seconds, sum(stops.seconds))


def figures(
    outcomes: list[VisitorAnswer], begun: float, log: str, seconds: float, stop_seconds: float
) -> Deploy:
    """Return the figures of a deploy.

    Args:
        outcomes: the requests before and during the deploy.
        begun: the start of the deploy, in seconds of the monotonic clock.
        log: the output of stackctl.
        seconds: the duration without the build.
        stop_seconds: how long all containers took to stop.

    """
    during = [outcome for outcome in outcomes if outcome.started >= begun]
    before = [outcome for outcome in outcomes if outcome.started < begun]
    return Deploy(
        seconds=seconds,
        drain_seconds=sum(t for step, t in parse_steps(log) if step.endswith(DRAINING)),
        stop_seconds=stop_seconds,
        requests=len(during),
        failed=sum(not outcome.good for outcome in during),
        longest_ms=_longest_ms(during),
        longest_before_ms=_longest_ms(before),
    )


def parse_steps(log: str) -> list[tuple[str, float]]:
    """Return the finished steps in the log of stackctl, each with its seconds."""
    return [(step, float(seconds)) for step, seconds in STEP.findall(log)]


def _longest_ms(outcomes: list[VisitorAnswer]) -> float:
    return max((outcome.seconds for outcome in outcomes), default=0.0) * 1000
