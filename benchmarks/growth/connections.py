"""More connections that clients keep open, and ask for a file over now and then."""

from collections.abc import Callable

from benchmarks.answers import static_path
from benchmarks.growth.curve import Curve
from benchmarks.growth.visits import milliseconds_each, visit
from benchmarks.release import ReleaseStack
from benchmarks.targets import PROFILE_PATH

CONNECTIONS = (1, 100, 1_000, 10_000)
NAMES = ("processor, a page, ms", "page, median, ms", "page, 99 of 100, ms", "failed")


def measure(stack: ReleaseStack, say: Callable[[str], None]) -> Curve:
    """Let new visitors ask for pages next to each number of kept connections.

    Raises:
        EngineError: a command failed.

    """
    file = static_path(stack)
    points = []
    for number in CONNECTIONS:
        idle = visit(stack, PROFILE_PATH, rate=0, kept=number, kept_path=file)
        busy = visit(stack, PROFILE_PATH, kept=number, kept_path=file)
        failed = busy.failed + busy.kept_failed
        cost = milliseconds_each(busy, idle)
        say(f"{number} kept connections: {cost}, {busy} {idle}")
        points.append((number, (cost, busy.median_ms, busy.p99_ms, failed)))
    return Curve("kept connections", NAMES, tuple(points))
