"""A server that hangs: it accepts requests but does not answer."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.conftest import check_writes
from tests.chaos.load import Load, mixed_clients
from tests.chaos.recovery import RECOVERY_SECONDS, WORKERS, is_in_service, seconds_to_recover
from tests.chaos.reliability import Figures
from tests.chaos.test_balancing import ask, nginx
from tests.stack.compose import Stack
from tests.waiting import eventually

# The slowest page of the default load.
SLOW_SECONDS = 2
HANG_SECONDS = 16
# Until nginx as the balancer drops the server: failed checks, IDLE_SECONDS, reload.
LIST_SECONDS = 12


@contextmanager
def paused(stack: Stack, service: str) -> Iterator[None]:
    """Pause a container for HANG_SECONDS; the kernel still accepts connections."""
    began = time.monotonic()
    stack.compose("pause", service)
    try:
        yield
        eventually(
            lambda: time.monotonic() - began > HANG_SECONDS, seconds=60, what="the hang is over"
        )
    finally:
        stack.compose("unpause", service)


def test_requests_to_a_hanging_server_are_answered_by_the_other(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    with load:
        load.warm_up()
        with paused(loaded, "server1"):
            load.wait_until_all_are_served()
        since = time.monotonic()
        seconds = seconds_to_recover(load, since, lambda: is_in_service(loaded, "set1"))

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


def test_pages_of_a_hanging_server_are_answered_by_the_other_behind_nginx_balancer(
    loaded: Stack, static: str, figures: Figures
) -> None:
    with nginx(loaded, "round_robin") as (_, port):
        load = Load(port, mixed_clients(static))
        with load:
            load.warm_up()
            with paused(loaded, "server1"):
                began = time.monotonic()
                eventually(
                    lambda: set(ask(port, 10)) == {"set2"}, seconds=30, what="server2 answers"
                )
            since = time.monotonic()
            seconds = seconds_to_recover(load, since, lambda: "set1" in ask(port, 10))
    loaded.wait_for_both()

    gets = [outcome for outcome in load.outcomes if outcome.request.method == "GET"]
    posts = [outcome for outcome in load.outcomes if outcome.request.method == "POST"]
    waited = [outcome for outcome in posts if outcome.seconds > RECOVERY_SECONDS]
    figures.add(
        f"nginx as the balancer: server1 hangs for {HANG_SECONDS} s",
        f"0 GETs failed, none waits longer than {RECOVERY_SECONDS} s for another server; POSTs "
        f"that server1 got in the first {LIST_SECONDS} s wait for it, none written twice",
        load,
        f"{len(waited)} of {len(posts)} POSTs waited; back in service after {seconds:.1f} s",
    )
    assert not [outcome for outcome in gets if outcome.failed], load.summary()
    assert max(outcome.seconds for outcome in gets) < SLOW_SECONDS + RECOVERY_SECONDS
    assert not [o for o in waited if o.started > began + LIST_SECONDS], load.summary()
    assert 409 not in {outcome.status for outcome in load.failed}
    check_writes(load, loaded)
