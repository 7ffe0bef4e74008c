"""Outages of Redis and the database (paused, or network cut) at a fixed request rate."""

import itertools
import time
from collections.abc import Callable

import pytest

from tests.chaos.conftest import check_writes
from tests.chaos.load import Client, Load, Outcome, Request, repeated, unique_orders
from tests.chaos.recovery import RECOVERY_SECONDS, seconds_to_recover
from tests.chaos.reliability import Figures
from tests.stack.compose import Stack, docker
from tests.waiting import eventually

pytestmark = pytest.mark.alone

RATE = 20
USUAL_SECONDS = 4
# Requests that need the service get 503 within this time; the others take at most this much longer.
REFUSED_SECONDS = 2
EXTRA_SECONDS = 1
# An unknown session, which Django looks up in the database.
SESSION = "sessionid=abcdefghijklmnopqrstuvwxyz012345"
REDIS_NEEDED, DATABASE_NEEDED = "/loadtest/count", "/loadtest/order/"

Fault = Callable[[Stack, str], object]


def pause(stack: Stack, service: str) -> None:
    """Pause a service: its connections stay open, but it does not answer."""
    stack.compose("pause", service)


def unpause(stack: Stack, service: str) -> None:
    """Resume a paused service."""
    stack.compose("unpause", service)


def disconnect(stack: Stack, service: str) -> None:
    """Disconnect a service from its network; its name no longer resolves."""
    docker("network", "disconnect", f"{stack.project}_backend", stack.container(service))


def connect(stack: Stack, service: str) -> None:
    """Reconnect a service to its network."""
    network = f"{stack.project}_backend"
    docker("network", "connect", "--alias", service, network, stack.container(service))


def fixed_rate_visitors(static: str) -> list[Client]:
    """Return requests of each kind, RATE a second in total."""
    sources = [
        repeated("GET", "/profile/"),
        repeated("GET", "/accounts/login/"),
        repeated("GET", static),
        repeated("GET", REDIS_NEEDED),
        repeated("POST", REDIS_NEEDED),
        unique_orders,
        lambda: itertools.repeat(Request("GET", "/profile/", cookie=SESSION)),
    ]
    return [Client(source(), keep_alive=False, interval=len(sources) / RATE) for source in sources]


def needs_service(outcome: Outcome, service: str) -> bool:
    """Return whether a request needs a service."""
    if service == "redis":
        return outcome.request.path == REDIS_NEEDED
    return outcome.request.path.startswith(DATABASE_NEEDED) or bool(outcome.request.cookie)


@pytest.mark.parametrize(
    ("service", "fault", "cut", "restore", "seconds"),
    [
        ("redis", "`docker compose pause redis`", pause, unpause, 12),
        ("db", "`docker compose pause db`", pause, unpause, 12),
        ("redis", "`docker network disconnect` of redis", disconnect, connect, 8),
        ("db", "`docker network disconnect` of db", disconnect, connect, 8),
    ],
    ids=["redis hangs", "the database hangs", "redis is cut off", "the database is cut off"],
)
def test_outage_of_redis_or_database_fails_only_requests_that_need_it(
    loaded: Stack,
    static: str,
    figures: Figures,
    service: str,
    fault: str,
    cut: Fault,
    restore: Fault,
    seconds: float,
) -> None:
    taken_out = loaded.taken_out()
    load = Load(loaded.http_port, list(fixed_rate_visitors(static)))
    with load:
        load.warm_up()
        began = time.monotonic()
        load.over.wait(USUAL_SECONDS)
        cut(loaded, service)
        try:
            load.over.wait(seconds)
        finally:
            restore(loaded, service)
        recovery = seconds_to_recover(load, time.monotonic(), lambda: True)

    usual = max(
        o.seconds for o in load.outcomes if began <= o.started and o.ended < began + USUAL_SECONDS
    )
    others = max(o.seconds for o in load.outcomes if not needs_service(o, service))
    refused = [o for o in load.failed if needs_service(o, service)]
    longest = max(o.seconds for o in refused)
    figures.add(
        f"{fault} for {seconds:g} s, at a fixed rate of {RATE} requests a second",
        f"requests that need it get 503 within {REFUSED_SECONDS} s; all others 0 failed, at most "
        f"{EXTRA_SECONDS} s over the usual longest; no server taken out; recovered within "
        f"{RECOVERY_SECONDS} s",
        load,
        f"longest 503 {longest:.1f} s; others {others:.2f} s ({usual:.2f} usual); recovered "
        f"after {max(recovery, 0):.1f} s",
    )
    assert len(refused) == len(load.failed), load.summary()
    assert {o.status for o in refused} == {503}, load.summary()
    assert longest <= REFUSED_SECONDS
    assert others <= usual + EXTRA_SECONDS
    assert recovery <= RECOVERY_SECONDS
    assert loaded.taken_out() == taken_out
    check_writes(load, loaded)
    # Both servers have recovered before the next scenario.
    eventually(
        lambda: (
            {counting_server(loaded) for _ in range(6)} == {"set1", "set2"}
            and loaded.get("/healthz").ok
        ),
        seconds=60,
        what="both servers count and are healthy",
    )


def counting_server(stack: Stack) -> str:
    """Count one request in Redis, and return the server that did."""
    answer = stack.post(REDIS_NEEDED)
    answer.raise_for_status()
    return str(answer.json()["server"])
