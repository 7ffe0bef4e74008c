"""Redis and the database hang, or their network is cut, while visitors come on time."""

import itertools
import time
from collections.abc import Callable

import pytest

from tests.chaos.conftest import check_writes
from tests.chaos.load import Arrivals, Load, Outcome, Request, always, orders
from tests.chaos.recovery import RECOVERY_SECONDS, recovered
from tests.chaos.reliability import Figures
from tests.stack.compose import Stack, docker
from tests.waiting import eventually

RATE = 20
USUAL_SECONDS = 4
# A request that needs what hangs has its 503 by then; the others take this much longer at most.
REFUSED_SECONDS = 2
EXTRA_SECONDS = 1
# An unknown session: Django looks for it in the database.
SESSION = "sessionid=abcdefghijklmnopqrstuvwxyz012345"
REDIS_NEEDED, DATABASE_NEEDED = "/loadtest/count", "/loadtest/order/"

Cut = Callable[[Stack, str], object]


def pause(stack: Stack, service: str) -> None:
    """Freeze a service: its connections stay, and nothing answers."""
    stack.compose("pause", service)


def unpause(stack: Stack, service: str) -> None:
    """Let it go on."""
    stack.compose("unpause", service)


def disconnect(stack: Stack, service: str) -> None:
    """Take a service out of its network, its name with it."""
    docker("network", "disconnect", f"{stack.project}_backend", stack.container(service))


def connect(stack: Stack, service: str) -> None:
    """Put it back."""
    network = f"{stack.project}_backend"
    docker("network", "connect", "--alias", service, network, stack.container(service))


def arrivals(static: str) -> list[Arrivals]:
    """Return visitors of each kind, RATE a second in all."""
    sources = [
        always("GET", "/profile/"),
        always("GET", "/accounts/login/"),
        always("GET", static),
        always("GET", REDIS_NEEDED),
        always("POST", REDIS_NEEDED),
        orders,
        lambda: itertools.repeat(Request("GET", "/profile/", cookie=SESSION)),
    ]
    return [Arrivals(source(), pause=len(sources) / RATE) for source in sources]


def needs(outcome: Outcome, service: str) -> bool:
    """Return whether a request could not be answered without a service."""
    if service == "redis":
        return outcome.request.path == REDIS_NEEDED
    return outcome.request.path.startswith(DATABASE_NEEDED) or bool(outcome.request.cookie)


@pytest.mark.parametrize(
    ("service", "how", "cut", "heal", "seconds"),
    [
        ("redis", "`docker compose pause redis`", pause, unpause, 12),
        ("db", "`docker compose pause db`", pause, unpause, 12),
        ("redis", "`docker network disconnect` of redis", disconnect, connect, 8),
        ("db", "`docker network disconnect` of db", disconnect, connect, 8),
    ],
    ids=["redis hangs", "the database hangs", "redis is cut off", "the database is cut off"],
)
def test_what_hangs_costs_only_those_who_need_it(
    loaded: Stack,
    static: str,
    figures: Figures,
    service: str,
    how: str,
    cut: Cut,
    heal: Cut,
    seconds: float,
) -> None:
    taken_out = loaded.taken_out()
    load = Load(loaded.http_port, list(arrivals(static)))
    with load:
        load.warm_up()
        began = time.monotonic()
        load.over.wait(USUAL_SECONDS)
        cut(loaded, service)
        try:
            load.over.wait(seconds)
        finally:
            heal(loaded, service)
        recovery = recovered(load, time.monotonic(), lambda: True)

    usual = max(
        o.seconds for o in load.outcomes if began <= o.started and o.ended < began + USUAL_SECONDS
    )
    others = max(o.seconds for o in load.outcomes if not needs(o, service))
    refused = [o for o in load.failed if needs(o, service)]
    longest = max(o.seconds for o in refused)
    figures.add(
        f"{how} for {seconds:g} s, {RATE} requests a second, each on time",
        f"what needs it 503 within {REFUSED_SECONDS} s; all else 0 failed and at most "
        f"{EXTRA_SECONDS} s over the usual longest; no server taken out; recovered within "
        f"{RECOVERY_SECONDS} s",
        load,
        f"longest 503 {longest:.1f} s; all else {others:.2f} s ({usual:.2f} usual); recovered "
        f"after {max(recovery, 0):.1f} s",
    )
    assert len(refused) == len(load.failed), load.summary()
    assert {o.status for o in refused} == {503}, load.summary()
    assert longest <= REFUSED_SECONDS
    assert others <= usual + EXTRA_SECONDS
    assert recovery <= RECOVERY_SECONDS
    assert loaded.taken_out() == taken_out
    check_writes(load, loaded)
    # On both servers, for the next scenario.
    eventually(
        lambda: (
            {counted_by(loaded) for _ in range(6)} == {"set1", "set2"} and loaded.get("/healthz").ok
        ),
        seconds=60,
        what="all is well",
    )


def counted_by(stack: Stack) -> str:
    """Return the server that has counted a request."""
    answer = stack.post(REDIS_NEEDED)
    answer.raise_for_status()
    return str(answer.json()["server"])
