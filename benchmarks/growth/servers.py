"""More servers: what they cost while idle and a request, and how long a deploy takes."""

from collections.abc import Callable

from benchmarks.growth.curve import Curve
from benchmarks.growth.visits import SECONDS, milliseconds_each, visit
from benchmarks.release import ReleaseStack
from benchmarks.targets import PROFILE_PATH

# As many as SERVER_COUNT accepts.
SERVERS = (2, 4, 6)
NAMES = ("processor, idle, ms/s", "processor, a page, ms", "deploy, s")


def measure(stack: ReleaseStack, say: Callable[[str], None]) -> Curve:
    """Serve pages and deploy with each number of servers; end with the first.

    Raises:
        EngineError: a command failed.

    """
    points = []
    for number in SERVERS:
        stack.scale(number)
        stack.stackctl("deploy", "--release", f"growth{number}")
        seconds = stack.last_recorded_seconds()
        idle, busy = visit(stack, PROFILE_PATH, rate=0), visit(stack, PROFILE_PATH)
        figures = (idle.cpu_us / SECONDS / 1000, milliseconds_each(busy, idle), seconds)
        say(f"{number} servers: {figures}, {busy}")
        points.append((number, figures))
    stack.scale(SERVERS[0])
    return Curve("servers", NAMES, tuple(points))
