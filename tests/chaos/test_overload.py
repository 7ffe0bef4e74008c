"""Far more visitors than the servers can serve."""

import time
from itertools import repeat

from tests.chaos.load import Client, Load, Request
from tests.chaos.reliability import Figures
from tests.stack.compose import Stack
from tests.waiting import eventually

# Four workers of 50 ms each: about 80 requests a second, whatever the machine.
WORK = Request("GET", "/loadtest/slow/50")
WORKERS = 4
# Long enough for a queue of ten times the capacity to run over.
SECONDS = 8.0


def good_per_second(stack: Stack, visitors: int) -> tuple[float, Load]:
    """Return how many requests a second are answered well, with so many visitors at once."""
    load = Load(stack.http_port, [Client(repeat(WORK), pause=0) for _ in range(visitors)])
    started = time.monotonic()
    with load:
        load.over.wait(SECONDS)
        ended = time.monotonic()
    # The end is waited for: what is answered meanwhile is in no second that was measured.
    good = [o for o in load.outcomes if not o.failed and o.ended <= ended]
    return len(good) / (ended - started), load


def test_overload_sheds_and_serves_on(loaded: Stack, figures: Figures) -> None:
    best, _ = good_per_second(loaded, WORKERS)
    started = loaded.inspect("server1", "{{.State.StartedAt}}")
    taken_out = loaded.taken_out()
    assert {"server1", "server2"} <= {server for _, server in taken_out}

    good, load = good_per_second(loaded, 40 * WORKERS)

    shed = [outcome for outcome in load.outcomes if outcome.failed]
    figures.add(
        f"{len(load.clients)} clients where {WORKERS} can be served",
        "goodput at least 90 % of the best; the rest 503 within 2 s",
        load,
        f"{good:.0f} good answers a second, {best:.0f} at capacity",
    )
    assert good >= 0.9 * best
    assert shed, "the overload was none"
    assert {outcome.status for outcome in shed} == {503}, load.summary()
    assert max(outcome.seconds for outcome in shed) <= 2
    # No container ended, no server was taken out, and the next visitor is served at once.
    eventually(lambda: loaded.in_service() == {"set1", "set2"}, seconds=5, what="back to normal")
    assert loaded.inspect("server1", "{{.State.StartedAt}}") == started
    assert loaded.taken_out() == taken_out


def test_a_shed_request_is_told_when_to_come_back(loaded: Stack) -> None:
    load = Load(loaded.http_port, [Client(repeat(WORK), pause=0) for _ in range(40 * WORKERS)])
    with load:
        (answer,) = eventually(
            # Not the answer itself: one with an error's status counts as false.
            lambda: [a for a in [loaded.get("/profile/")] if a.status_code == 503],
            seconds=30,
            what="a request is shed",
        )

    assert answer.headers["Retry-After"] == "5"
    assert "No server is free" in answer.json()["detail"]
