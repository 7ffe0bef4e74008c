"""The figures as a table for people and as JSON for programs."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.deploy import AIM_SECONDS, Deploy
from benchmarks.rounds import Options, Samples
from benchmarks.targets import AIMS, RATIOS, TARGETS, Aim, Target

NOISY = 0.15
NOTES = """\
Medians of the rounds, in brackets lowest and highest. A ratio is the median of the rounds' ratios.
Every target has two workers in all, the production settings and the same view without a query.
CPU is the serving containers' own: without the load generator's and without the engine's, which
writes their logs. The load generator shares the cores with the servers.
nginx and HAProxy write one log line for each request; without nginx, Django writes one.
Connections are kept alive where the server can: uWSGI's http-socket and gunicorn's sync worker
close each one. No engine health checks while measuring; HAProxy's own checks continue."""


def rates(samples: Samples, key: str) -> list[float]:
    """Return a target's requests per second, round by round."""
    return [sample.load.per_second for sample in samples[key]]


def costs(samples: Samples, key: str) -> list[float]:
    """Return a target's CPU microseconds per request, round by round."""
    return [sample.cpu_us_per_request for sample in samples[key]]


def ratio(over: list[float], under: list[float]) -> float:
    """Return the median of two targets' ratios: what disturbs a round disturbs both."""
    return median(round_ratios(over, under))


def round_ratios(over: list[float], under: list[float]) -> list[float]:
    """Return two targets' ratio in each round."""
    return [a / b if b else 0.0 for a, b in zip(over, under, strict=True)]


def ratio_rows(samples: Samples) -> list[tuple[str, ...]]:
    """Return the words of each of RATIOS, then of requests/s and of CPU the median and spread."""
    rows = []
    for words, over, under in RATIOS:
        speed = round_ratios(rates(samples, over), rates(samples, under))
        cost = round_ratios(costs(samples, over), costs(samples, under))
        figures = (f"{median(v):.2f} ({min(v):.2f}-{max(v):.2f})" for v in (speed, cost))
        rows.append((words, *figures))
    return rows


def error_count(samples: Samples) -> int:
    """Return how many requests had no good answer."""
    return sum(sample.load.errors for rounds in samples.values() for sample in rounds)


def reached(samples: Samples, aim: Aim) -> float:
    """Return the ratio of an aim's two targets."""
    return ratio(rates(samples, aim.target), rates(samples, aim.reference))


def text_report(
    facts: Mapping[str, Any],
    versions: Mapping[str, str],
    options: Options,
    samples: Samples,
    memory: Mapping[str, float],
    deploy: Deploy | None,
) -> str:
    """Return the whole report as plain text."""
    blocks = (
        _header(facts, versions, options),
        _dynamic_table(samples),
        _ratio_table(samples),
        [*(_aim_line(samples, aim) for aim in AIMS), _split_line(samples)],
        _static_table(samples),
        ["Memory, MiB", *(f"    {name:14}{mib:8.1f}" for name, mib in sorted(memory.items()))],
        deploy_lines(deploy) if deploy else [],
        NOTES.splitlines(),
        _error_lines(samples),
    )
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def json_report(
    facts: Mapping[str, Any],
    versions: Mapping[str, str],
    options: Options,
    samples: Samples,
    memory: Mapping[str, float],
    deploy: Deploy | None,
) -> dict[str, Any]:
    """Return all figures, each round's too."""
    return {
        "machine": dict(facts),
        "versions": dict(versions),
        "options": asdict(options),
        "targets": [_target_figures(samples, target) for target in TARGETS],
        "aims": [
            {**asdict(aim), "reached": reached(samples, aim), "met": _met(samples, aim)}
            for aim in AIMS
        ],
        "memory_mib": dict(memory),
        "ratios": ratio_rows(samples),
        "deploy": {**asdict(deploy), "met": deploy.met} if deploy else None,
        "errors": error_count(samples) + (deploy.failed if deploy else 0),
    }


def _target_figures(samples: Samples, target: Target) -> dict[str, Any]:
    return {
        "key": target.key,
        "title": target.title,
        "requests_per_second": median(rates(samples, target.key)),
        "cpu_us_per_request": median(costs(samples, target.key)),
        "rounds": [asdict(sample) for sample in samples[target.key]],
    }


def _header(
    facts: Mapping[str, Any], versions: Mapping[str, str], options: Options
) -> Iterator[str]:
    yield (
        f"{facts['date']}: {facts['cores']} cores, {facts['memory_gib']} GiB, Linux "
        f"{facts['kernel']}, Docker {facts['engine']}, {facts['busy_before']:.0%} busy beforehand"
    )
    yield ", ".join(f"{name} {version}" for name, version in versions.items())
    yield (
        f"{options.rounds} rounds of {options.seconds} s each, {options.connections} connections, "
        "GET /profile/"
    )
    if facts["busy_before"] > NOISY:
        yield "Others are using this machine: trust the ratios more than the figures, and repeat."


def _dynamic_table(samples: Samples) -> Iterator[str]:
    yield (
        f"{'':34}{'requests/s':^24}{'CPU us/request':^24}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'to (c)':>8}{'to (d)':>8}{'CPU to (c)':>12}"
    )
    for target in TARGETS:
        if target.static:
            continue
        own, cost = rates(samples, target.key), costs(samples, target.key)
        yield (
            f"{_figures(samples, target)}"
            f"{ratio(own, rates(samples, 'c')):8.2f}{ratio(own, rates(samples, 'd')):8.2f}"
            f"{ratio(cost, costs(samples, 'c')):12.2f}"
        )


def _ratio_table(samples: Samples) -> Iterator[str]:
    yield f"{'Ratios':74}{'requests/s':20}CPU/request"
    for words, speed, cost in ratio_rows(samples):
        yield f"    {words:70}{speed:20}{cost}"


def _static_table(samples: Samples) -> Iterator[str]:
    static = [target for target in TARGETS if target.static]
    for target in static:
        yield _figures(samples, target)


def _figures(samples: Samples, target: Target) -> str:
    loads = [sample.load for sample in samples[target.key]]
    return (
        f"({target.key}) {target.title:30}{_spread(rates(samples, target.key)):24}"
        f"{_spread(costs(samples, target.key)):24}"
        f"{median(load.median_ms for load in loads):8.1f}"
        f"{median(load.p99_ms for load in loads):8.1f}"
    )


def _spread(values: list[float]) -> str:
    return f"{median(values):8,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def _met(samples: Samples, aim: Aim) -> bool:
    return reached(samples, aim) >= aim.at_least


def _aim_line(samples: Samples, aim: Aim) -> str:
    return (
        f"Aim: ({aim.target}) at least {aim.at_least} of ({aim.reference}): "
        f"{reached(samples, aim):.2f}, {'met' if _met(samples, aim) else 'NOT met'}."
    )


def _split_line(samples: Samples) -> str:
    rounds = samples["a"]
    shares = (
        f"{service} {median(s.cpu_us[service] / max(s.load.requests, 1) for s in rounds):.0f}"
        for service in rounds[0].cpu_us
    )
    return f"CPU us/request within (a): {', '.join(shares)}."


def deploy_lines(deploy: Deploy) -> list[str]:
    """Return what a person wants to know of a deploy."""
    return [
        f"stackctl deploy of both servers and a worker: {deploy.seconds:.1f} s without the build;",
        f"    of them {deploy.drain_seconds:.1f} s until HAProxy had the last answers, "
        f"{deploy.stop_seconds:.1f} s until the containers had ended gracefully",
        f"    {deploy.requests} requests meanwhile, {deploy.failed} failed, longest "
        f"{deploy.longest_ms:.0f} ms ({deploy.longest_before_ms:.0f} ms before)",
        f"Aim: at most {AIM_SECONDS:g} s besides both: {deploy.besides_drains:.1f} s, "
        f"{'met' if deploy.met else 'NOT met'}.",
    ]


def _error_lines(samples: Samples) -> list[str]:
    lines = []
    for target in TARGETS:
        loads = [sample.load for sample in samples[target.key]]
        if any(load.errors for load in loads):
            lines.append(
                f"ERRORS: ({target.key}) {target.title}: {sum(load.bad_status for load in loads)} "
                "answers other than 2xx and 3xx, "
                f"{sum(load.socket_errors for load in loads)} socket errors."
            )
    return lines
