"""Requests at a fixed rate to a whole stack, and the processor time that its containers use."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cost import container_cpu
from benchmarks.engine import docker
from benchmarks.release import ReleaseStack

SCRIPT = Path(__file__).with_name("crowd.py")
PORT = 8080
# A fraction of what two servers answer, so that nothing waits.
RATE = 100
SECONDS = 10


@dataclass(frozen=True)
class Visits:
    """What visitors saw, and what it cost.

    Attributes:
        requests: of the visitors.
        failed: those without a 200.
        median_ms: half of them were answered in this time.
        p99_ms: 99 of 100 were.
        kept_requests: over the kept connections.
        kept_failed: those without a 200.
        cpu_us: processor time of HAProxy and the servers meanwhile.

    """

    requests: int
    failed: int
    median_ms: float
    p99_ms: float
    kept_requests: int
    kept_failed: int
    cpu_us: float


def visit(
    stack: ReleaseStack, path: str, *, rate: int = RATE, kept: int = 0, kept_path: str = "/livez"
) -> Visits:
    """Let visitors arrive, whether or not earlier ones have their answer.

    Args:
        stack: the running stack.
        path: what they ask for.
        rate: how many arrive in a second.
        kept: connections that others keep open.
        kept_path: what is asked for over those.

    Raises:
        EngineError: the container with the visitors failed.

    """
    serving = [stack.container(name) for name in ("haproxy", *stack.servers)]
    before = _cpu(serving)
    output = docker(
        [
            *("run", "--rm", "--interactive", "--name", f"{stack.project}-visitors"),
            *("--network", f"container:{serving[0]}", "--entrypoint", "python"),
            *(f"{stack.project}-production", "-", str(PORT), path),
            *map(str, (rate, SECONDS, kept)),
            kept_path,
        ],
        text=SCRIPT.read_text(),
        timeout=120,
    )
    return Visits(**json.loads(output), cpu_us=_cpu(serving) - before)


def milliseconds_each(busy: Visits, idle: Visits) -> float:
    """Return the processor time of one visitor's request beyond what is used without visitors."""
    return (busy.cpu_us - idle.cpu_us) / busy.requests / 1000


def _cpu(containers: Iterable[str]) -> float:
    return sum(map(container_cpu, containers))
