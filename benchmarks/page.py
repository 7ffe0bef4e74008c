"""docs/performance.md, which `make bench` writes."""

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.growth.crowd import PAUSE_SECONDS
from benchmarks.growth.curve import Curve
from benchmarks.growth.visits import RATE
from benchmarks.report import ratio_rows
from benchmarks.rounds import Options, Samples
from benchmarks.stack import ROOT

PAGE = ROOT / "docs" / "performance.md"
TEXT = """\
# Performance

    make bench            # measures all of this again, and writes this page (about ten minutes)
    make bench TIERS=1    # without a deploy and the worker
    make bench GROWTH=1   # only the section on growth (about ten minutes)

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

## Tried and not kept

Processor time of a request with the engine's, as the median of one run on a busy machine. Three
lines for each request, each passed on by itself, took 848 us, and no line at all 674 us.

| tried | us |
|---|---|
| HAProxy's line alone, passed on by itself | 758 |
| nginx's line alone. A deploy would remove all lines of earlier requests, unlike HAProxy's | 682 |
| Docker's log driver `local` | 777 |
| Docker's `mode: non-blocking`, which drops lines | 792 |

`gc.freeze()` with higher thresholds of Python's garbage collector made no measurable difference to
that time. It stays without them, for the memory that workers share (ops/apps.py).
"""
HEADING = "\n## Growth\n"
GROWTH = """\

What one whole stack costs at several sizes; in brackets each figure as a multiple of the first
row's. Visitors ask for a page (`/profile/`) or file {rate} times a second, each over a new
connection, whether or not earlier ones have their answer. "Processor" is the time of HAProxy and
all servers together; of one request, what it adds to that of a stack without visitors.

{tables}

All servers start at the same time, so a deploy of more of them takes longer where they have to
share the processors. Over each kept connection a client asks for a file every {pause:g} s. Each old
release has ten files of its own. Half of the rows wait for a worker, half are done.

Measured {date} on {cores} processors, {memory_gib} GiB, Docker {engine}, {busy_before:.0%} busy
beforehand.
"""


def write_page(facts: Mapping[str, Any], options: Options, samples: Samples) -> None:
    """Write the ratios of a run without errors.

    Args:
        facts: the machine.
        options: duration, rounds and connections of the measurement.
        samples: the measurement.
    """
    rows = "\n".join(f"| {' | '.join(row)} |" for row in ratio_rows(samples))
    _, heading, growth = _parts()
    _write(TEXT.format(rows=rows, **facts, **vars(options)), heading, growth)


def write_growth(facts: Mapping[str, Any], curves: Iterable[Curve]) -> None:
    """Write the curves; the rest of the page stays.

    Args:
        facts: the machine.
        curves: what was measured.
    """
    tables = "\n\n".join(curve.table() for curve in curves)
    ratios, _, _ = _parts()
    _write(ratios, HEADING, GROWTH.format(tables=tables, rate=RATE, pause=PAUSE_SECONDS, **facts))


def _parts() -> tuple[str, str, str]:
    """Return the page's ratios, the heading of the curves if it has them, and the curves."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    return text.partition(HEADING)


def _write(*parts: str) -> None:
    PAGE.write_text("".join(parts), encoding="utf-8")
