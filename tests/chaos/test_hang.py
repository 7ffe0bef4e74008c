"""A server that hangs: it accepts requests and answers none."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.conftest import check_writes
from tests.chaos.load import Load
from tests.chaos.recovery import RECOVERY_SECONDS, WORKERS, answers, recovered
from tests.chaos.reliability import Figures
from tests.stack.compose import Stack
from tests.waiting import eventually

# The slowest page of the usual load.
SLOW_SECONDS = 2
HANG_SECONDS = 12


@contextmanager
def hanging(stack: Stack, service: str) -> Iterator[None]:
    """Stop all processes of a container for a while; the kernel still accepts connections."""
    began = time.monotonic()
    stack.compose("pause", service)
    try:
        yield
        eventually(
            lambda: time.monotonic() - began > HANG_SECONDS, seconds=60, what="the hang is over"
        )
    finally:
        stack.compose("unpause", service)


def test_requests_of_hanging_server_end_on_the_other(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    with load:
        load.warm_up()
        with hanging(loaded, "server1"):
            load.all_served_again()
        since = time.monotonic()
        seconds = recovered(load, since, lambda: answers(loaded, "set1"))

    longest = max(outcome.seconds for outcome in load.outcomes)
    figures.add(
        f"server1 hangs for {HANG_SECONDS} s (`docker compose pause server1`)",
        f"0 GETs and at most {WORKERS} POSTs failed, none written twice; no request waits longer "
        f"than {RECOVERY_SECONDS} s for another server or its 502",
        load,
        f"back in service after {seconds:.1f} s",
    )
    failed = load.failed
    assert not [outcome for outcome in failed if outcome.request.method == "GET"], load.summary()
    assert len(failed) <= WORKERS, load.summary()
    assert {outcome.status for outcome in failed} <= {502}, load.summary()
    assert longest < SLOW_SECONDS + RECOVERY_SECONDS, load.summary()
    check_writes(load, loaded)
