"""More requests than the servers can serve."""

import time
from itertools import repeat

import pytest

from tests.chaos.load import Client, ClosedLoop, Load, Request
from tests.chaos.reliability import Figures
from tests.stack.compose import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.alone

# Four workers at 50 ms a request: about 80 requests a second on any machine.
SLOW_PAGE = Request("GET", "/loadtest/slow/50")
WORKERS = 4
# Four times as many requests arrive.
ARRIVALS = 320
VISITORS = 32
# Long enough for the queue to overflow.
SECONDS = 8.0


def overload() -> list[Client]:
    """Return clients that send ARRIVALS requests a second."""
    return [Client(repeat(SLOW_PAGE), interval=VISITORS / ARRIVALS) for _ in range(VISITORS)]


def goodput(stack: Stack, clients: list[Client]) -> tuple[float, Load]:
    """Return the successful requests a second with these clients, and the load."""
    load = Load(stack.http_port, clients)
    started = time.monotonic()
    with load:
        load.over.wait(SECONDS)
        ended = time.monotonic()
    # Responses after the measured time do not count.
    good = [o for o in load.outcomes if not o.failed and o.ended <= ended]
    return len(good) / (ended - started), load


def test_overload_sheds_requests_and_keeps_goodput(loaded: Stack, figures: Figures) -> None:
    best, _ = goodput(loaded, [ClosedLoop(repeat(SLOW_PAGE)) for _ in range(WORKERS)])
    started = loaded.inspect("server1", "{{.State.StartedAt}}")
    taken_out = loaded.taken_out()
    assert {"server1", "server2"} <= {server for _, server in taken_out}

    good, load = goodput(loaded, overload())

    shed = [outcome for outcome in load.outcomes if outcome.failed]
    figures.add(
        f"{ARRIVALS} requests a second arrive where {WORKERS} workers serve 80",
        "goodput at least 90 % of the best; the rest 503 within 2 s",
        load,
        f"{good:.0f} successful requests a second, {best:.0f} at capacity",
    )
    assert good >= 0.9 * best
    assert shed, "no request was shed: there was no overload"
    assert {outcome.status for outcome in shed} == {503}, load.summary()
    assert max(outcome.seconds for outcome in shed) <= 2
    # No container restarted, and no server was marked down.
    eventually(lambda: loaded.in_service() == {"set1", "set2"}, seconds=5, what="back to normal")
    assert loaded.inspect("server1", "{{.State.StartedAt}}") == started
    assert loaded.taken_out() == taken_out


def test_shed_request_gets_503_with_retry_after(loaded: Stack) -> None:
    with Load(loaded.http_port, overload()):
        (answer,) = eventually(
            # In a list, since a response with an error status is false.
            lambda: [a for a in [loaded.get("/profile/")] if a.status_code == 503],
            seconds=30,
            what="a request is shed",
        )

    assert answer.headers["Retry-After"] == "5"
    assert "No server is free" in answer.json()["detail"]
