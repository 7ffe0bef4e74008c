"""All curves, measured on one stack."""

from collections.abc import Callable

from benchmarks.growth import connections, files, rows, servers
from benchmarks.growth.curve import Curve
from benchmarks.release import running_release

# The last one stops the worker.
PARTS = (servers, connections, files, rows)


def measure_growth(say: Callable[[str], None]) -> list[Curve]:
    """Start a whole stack, measure every curve, and remove it.

    Args:
        say: receives progress messages.

    Raises:
        EngineError: a command failed.

    """
    say("Building the images from this checkout and starting a whole stack.")
    with running_release() as stack:
        return [part.measure(stack, say) for part in PARTS]
