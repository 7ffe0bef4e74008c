"""The measurement: each target once a round, so that disturbances affect all alike."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.answers import WrongAnswerError, check_answer, target_url
from benchmarks.cost import cpu_microseconds
from benchmarks.load import Load, run_load
from benchmarks.stack import Stack
from benchmarks.targets import TARGETS, Target

WARM_UP_SECONDS = 2
# A serving container with a smaller share of the CPU time has served no requests.
LEAST_SHARE = 0.02


@dataclass(frozen=True)
class Sample:
    """One target in one round.

    Attributes:
        load: the result of the load generator.
        cpu_us: CPU time of each serving container.

    """

    load: Load
    cpu_us: dict[str, float]

    @property
    def cpu_us_per_request(self) -> float:
        """Return the CPU time of the serving containers for one request."""
        return sum(self.cpu_us.values()) / max(self.load.requests, 1)


@dataclass(frozen=True)
class Options:
    """Duration, rounds and connections of the measurement."""

    seconds: int
    rounds: int
    connections: int


Samples = dict[str, list[Sample]]


def measure(stack: Stack, options: Options, say: Callable[[str], None]) -> Samples:
    """Check and warm up every target, then measure the rounds.

    Args:
        stack: the running containers.
        options: duration, rounds and connections.
        say: receives progress messages.

    Raises:
        WrongAnswerError: a response is wrong, or a container serves no requests.

    """
    urls = {target.key: target_url(stack, target) for target in TARGETS}
    for target in TARGETS:
        check_answer(stack, target, urls[target.key])
    say("Every target answers correctly. Warming up.")
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
    after = cpu_microseconds(stack, target.serving)
    sample = Sample(load, {service: after[service] - before[service] for service in before})
    _require_all(target, sample)
    return sample


def _require_all(target: Target, sample: Sample) -> None:
    total = sum(sample.cpu_us.values())
    idle = [service for service, used in sample.cpu_us.items() if used < LEAST_SHARE * total]
    if idle:
        raise WrongAnswerError(f"{target.title}: {', '.join(idle)} served no requests")


def _load(stack: Stack, target: Target, url: str, options: Options, seconds: int) -> Load:
    return run_load(stack, target, url, seconds=seconds, connections=options.connections)
