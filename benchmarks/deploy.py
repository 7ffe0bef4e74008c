"""`stackctl deploy` while a few visitors are there."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.release import ReleaseStack
from benchmarks.stops import watched_stops
from benchmarks.visitors import VisitorAnswer, visitors

# How long the visitors are watched before the deploy, to compare with.
STEADY_SECONDS = 5
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
        drain_seconds: of them, until HAProxy had the servers' last answers.
        stop_seconds: of them, until the containers that were told to stop had ended gracefully.
        requests: asked for while it ran.
        failed: of them, without a good answer.
        longest_ms: the longest of them.
        longest_before_ms: the longest request of the seconds before.

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
        """Return the seconds without both parts of draining: HAProxy's and the containers' own."""
        return self.seconds - self.drain_seconds - self.stop_seconds

    @property
    def met(self) -> bool:
        """Return whether it was as quick as the project wants it to be."""
        return self.besides_drains <= AIM_SECONDS


def measure_deploy(stack: ReleaseStack, say: Callable[[str], None]) -> Deploy:
    """Bring a further release into service while visitors are there.

    Args:
        stack: the running stack.
        say: receives progress messages.

    Raises:
        EngineError: the release failed.

    """
    say("Deploying both servers of a whole stack, with visitors.")
    with visitors(stack.port) as found, watched_stops(stack.project) as stops:
        found.over.wait(STEADY_SECONDS)
        begun = time.monotonic()
        log = stack.stackctl("deploy", "--release", "bench")
    seconds = stack.last_recorded_seconds()
    return figures(found.outcomes, begun, log, seconds, sum(stops.seconds))


def figures(
    outcomes: list[VisitorAnswer], begun: float, log: str, seconds: float, stop_seconds: float
) -> Deploy:
    """Put together what was seen.

    Args:
        outcomes: the requests before and during the deploy.
        begun: when it was begun, in seconds of the monotonic clock.
        log: what stackctl printed.
        seconds: how long it took without the build.
        stop_seconds: how long the containers took to stop, in all.

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
    """Return the steps of stackctl's log that were done, each with its seconds."""
    return [(step, float(seconds)) for step, seconds in STEP.findall(log)]


def _longest_ms(outcomes: list[VisitorAnswer]) -> float:
    return max((outcome.seconds for outcome in outcomes), default=0.0) * 1000
