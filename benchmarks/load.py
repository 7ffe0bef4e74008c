"""The load generator, wrk, and its report."""

import re
from dataclasses import dataclass

from benchmarks.engine import docker
from benchmarks.stack import Stack
from benchmarks.targets import Target

TIMEOUT_SECONDS = 10
MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Load:
    """The result of one run of wrk.

    Attributes:
        requests: responses received.
        per_second: responses received per second.
        median_ms: median latency.
        p99_ms: 99th percentile of the latency.
        bad_status: responses other than 2xx and 3xx.
        socket_errors: connections that failed, and requests that timed out.

    """

    requests: int
    per_second: float
    median_ms: float
    p99_ms: float
    bad_status: int
    socket_errors: int

    @property
    def errors(self) -> int:
        """Return the number of failed requests."""
        return self.bad_status + self.socket_errors


def run_load(stack: Stack, target: Target, url: str, *, seconds: int, connections: int) -> Load:
    """Load a target as fast as it answers, from its own network namespace.

    This excludes the published port and the engine's proxy from the measurement.
    """
    output = docker(
        [
            *("run", "--rm", "--name", stack.load_container),
            *("--network", f"container:{stack.container(target.service)}"),
            *(stack.image("load"), "wrk", "--threads", "1", "--connections", str(connections)),
            # As browsers do.
            *("--header", "Accept-Encoding: gzip, deflate, br, zstd"),
            *("--duration", f"{seconds}s", "--timeout", f"{TIMEOUT_SECONDS}s", "--latency", url),
        ],
        timeout=seconds + 60,
    )
    return parse_wrk(output)


def parse_wrk(output: str) -> Load:
    """Parse the report of wrk.

    Raises:
        ValueError: the text is not a report.

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
