"""The components' states, which /healthz and the status page show."""

import asyncio
from typing import Any

from health_check.base import HealthCheckResult

from ops import registry
from ops.recent import Recent
from ops.threads import DaemonThreads

# How long the components' states are kept: anyone may ask, and each look costs connections to the
# database, the cache and the broker.
HEALTH_SECONDS = 2.0


def look_at_components() -> dict[str, dict[str, Any]]:
    """Return each component's state, all looked at at once."""
    results = asyncio.run(check_components())
    return {name: describe(result) for name, result in results.items()}


async def check_components() -> dict[str, HealthCheckResult]:
    """Run every check in a thread of its own; a thread that hangs is not waited for."""
    threads = DaemonThreads()
    results = await asyncio.gather(
        *(check().get_result(threads) for check in registry.health_checks.values())
    )
    return dict(zip(registry.health_checks, results, strict=True))


def describe(result: HealthCheckResult) -> dict[str, Any]:
    """Return one component's line: its state, how long the look took, and what is wrong."""
    line: dict[str, Any] = {
        "status": "down" if result.error else "up",
        "milliseconds": round(result.time_taken * 1000, 1),
    }
    if result.error:
        line["error"] = str(result.error)
    return line


HEALTH = Recent(look_at_components, seconds=HEALTH_SECONDS)
