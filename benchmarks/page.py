"""docs/performance.md, which `make bench` writes."""

from collections.abc import Mapping
from typing import Any

from benchmarks.report import ratio_rows
from benchmarks.rounds import Options, Samples
from benchmarks.stack import ROOT

PAGE = ROOT / "docs" / "performance.md"
TEXT = """\
# Performance

    make bench            # measures all of this again, and writes this page (about ten minutes)
    make bench TIERS=1    # without a deploy and the worker

Each row compares two servers: the ratio of their requests a second, and of their containers'
processor time for a request, as the median of the rounds, the lowest and the highest. Each round of
one run measures all of them, one at a time, so that what disturbs the machine disturbs both. Do not
compare figures of two runs. Every server has two workers, the production settings and the same
view, `/profile/`, which asks no database. The load generator shares the processors with them.

| servers | requests a second | processor time a request, without the engine's |
|---|---|---|
{rows}

Measured {date} on {cores} processors, {memory_gib} GiB, Docker {engine}, {busy_before:.0%} busy
beforehand: {rounds} rounds of {seconds} s for each server, {connections} connections.

Plain Django has Django's default middleware, and uWSGI's HTTP socket with its own log of requests,
as in a tutorial. uWSGI's HTTP socket and gunicorn close each connection; the others keep it.
"""


def write_page(facts: Mapping[str, Any], options: Options, samples: Samples) -> None:
    """Write the ratios of a run without errors.

    Args:
        facts: the machine.
        options: duration, rounds and connections of the measurement.
        samples: the measurement.
    """
    rows = "\n".join(f"| {' | '.join(row)} |" for row in ratio_rows(samples))
    PAGE.write_text(TEXT.format(rows=rows, **facts, **vars(options)), encoding="utf-8")
