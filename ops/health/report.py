"""The components' states, which /healthz and the status page show."""

import asyncio
from typing import Any

from health_check.base import HealthCheckResult

from ops import registry
from ops.recent import Recent
from ops.threads import DaemonThreads

# How long the components' states are cached: anyone may request them, and each check opens
# connections to the database, the cache and the broker.
HEALTH_SECONDS = 2.0


def component_states() -> dict[str, dict[str, Any]]:
    """Return the state of each component; the checks run in parallel."""
    results = asyncio.run(check_components())
    return {name: describe(result) for name, result in results.items()}


async def check_components() -> dict[str, HealthCheckResult]:
    """Run each check in its own thread; one that hangs is not awaited."""
    threads = DaemonThreads()
    results = await asyncio.gather(
        *(check().get_result(threads) for check in registry.health_checks.values())
    )
    return dict(zip(registry.health_checks, results, strict=True))


def describe(result: HealthCheckResult) -> dict[str, Any]:
    """Return one component's line: its state, how long the check took, and what is wrong."""
    line: dict[str, Any] = {
        "status": "down" if result.error else "up",
        "milliseconds": round(result.time_taken * 1000, 1),
    }
    if result.error:
        line["error"] = str(result.error)
    return line


HEALTH = Recent(component_states, seconds=HEALTH_SECONDS)
