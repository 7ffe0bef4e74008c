"""The measurement: every target in turn, several rounds, so that a disturbance meets all alike."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.answers import check_answer, target_url
from benchmarks.cost import cpu_microseconds
from benchmarks.load import Load, run_load
from benchmarks.stack import Stack
from benchmarks.targets import TARGETS, Target

WARM_UP_SECONDS = 2


@dataclass(frozen=True)
class Sample:
    """One target in one round."""

    load: Load
    cpu_us: float

    @property
    def cpu_us_per_request(self) -> float:
        """CPU time of the serving containers for one answer."""
        return self.cpu_us / max(self.load.requests, 1)


@dataclass(frozen=True)
class Options:
    """How long and how hard."""

    seconds: int
    rounds: int
    connections: int


Samples = dict[str, list[Sample]]


def measure(stack: Stack, options: Options, say: Callable[[str], None]) -> Samples:
    """Check and warm up every target, then measure the rounds.

    Args:
        stack: the running containers.
        options: how long and how hard.
        say: is told what goes on.

    Raises:
        WrongAnswerError: a target does not answer as it must.

    """
    urls = {target.key: target_url(stack, target) for target in TARGETS}
    for target in TARGETS:
        check_answer(stack, target, urls[target.key])
    say("Every target answers as it must. Warming up.")
    for target in TARGETS:
        _load(stack, target, urls[target.key], options, WARM_UP_SECONDS)
    samples: Samples = {target.key: [] for target in TARGETS}
    for number in range(1, options.rounds + 1):
        for target in TARGETS:
            sample = _sample(stack, target, urls[target.key], options)
            samples[target.key].append(sample)
            say(f"round {number}  {target.title:30} {sample.load.per_second:9,.0f} requests/s")
    return samples


def _sample(stack: Stack, target: Target, url: str, options: Options) -> Sample:
    before = cpu_microseconds(stack, target.serving)
    load = _load(stack, target, url, options, options.seconds)
    return Sample(load=load, cpu_us=cpu_microseconds(stack, target.serving) - before)


def _load(stack: Stack, target: Target, url: str, options: Options, seconds: int) -> Load:
    return run_load(stack, target, url, seconds=seconds, connections=options.connections)
