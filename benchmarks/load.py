"""The load generator, wrk, and what it says."""

import re
from dataclasses import dataclass

from benchmarks.engine import docker
from benchmarks.stack import Stack
from benchmarks.targets import Target

TIMEOUT_SECONDS = 10
MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Load:
    """What one run of wrk did.

    Attributes:
        requests: answers received.
        per_second: answers received per second.
        median_ms: median latency.
        p99_ms: 99th percentile of the latency.
        bad_status: answers that were neither 2xx nor 3xx.
        socket_errors: connections that failed, and requests without an answer in time.

    """

    requests: int
    per_second: float
    median_ms: float
    p99_ms: float
    bad_status: int
    socket_errors: int

    @property
    def errors(self) -> int:
        """All that was not a good answer."""
        return self.bad_status + self.socket_errors


def run_load(stack: Stack, target: Target, url: str, *, seconds: int, connections: int) -> Load:
    """Ask a target as fast as it answers, from within its own network namespace.

    So neither a published port nor the engine's proxy for it is measured.
    """
    output = docker(
        [
            *("run", "--rm", "--name", stack.load_container),
            *("--network", f"container:{stack.container(target.service)}"),
            *(stack.image("load"), "wrk", "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{seconds}s", "--timeout", f"{TIMEOUT_SECONDS}s", "--latency", url),
        ],
        timeout=seconds + 60,
    )
    return parse_wrk(output)


def parse_wrk(output: str) -> Load:
    """Read wrk's report.

    Raises:
        ValueError: it is not one.

    """
    return Load(
        requests=int(_find(r"(\d+) requests in ", output)),
        per_second=float(_find(r"Requests/sec:\s+([\d.]+)", output)),
        median_ms=_latency(50, output),
        p99_ms=_latency(99, output),
        bad_status=int(_find(r"Non-2xx or 3xx responses: (\d+)", output, default="0")),
        socket_errors=_socket_errors(output),
    )


def _find(pattern: str, output: str, *, default: str | None = None) -> str:
    match = re.search(pattern, output)
    if match:
        return match[1]
    if default is None:
        raise ValueError(f"wrk's report has no {pattern!r}:\n{output}")
    return default


def _latency(percentile: int, output: str) -> float:
    number, unit = re.fullmatch(
        r"([\d.]+)(\w+)", _find(rf"{percentile}%\s+([\d.]+\w+)", output)
    ).groups()  # type: ignore[union-attr] # the outer pattern has matched
    return float(number) * MILLISECONDS[unit]


def _socket_errors(output: str) -> int:
    line = _find(r"Socket errors: (.*)", output, default="")
    return sum(int(count) for count in re.findall(r"\d+", line))
