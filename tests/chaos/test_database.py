"""An outage of the database under load."""

import time

import pytest

from tests.chaos.conftest import check_writes
from tests.chaos.load import Client, Load, mixed_clients, repeated
from tests.chaos.recovery import RECOVERY_SECONDS, seconds_to_recover
from tests.chaos.reliability import Figures
from tests.stack.compose import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.alone

OUTAGE_SECONDS = 20
# Longer than a connection attempt, far shorter than harakiri.
FAST_SECONDS = 5


def test_database_outage_fails_only_writes(loaded: Stack, static: str, figures: Figures) -> None:
    started = [loaded.inspect(name, "{{.State.StartedAt}}") for name in ("server1", "server2")]
    taken_out = loaded.taken_out()
    probe = Client(repeated("GET", "/readyz")())
    load = Load(loaded.http_port, [*mixed_clients(static), probe])
    with load:
        load.warm_up()
        stopped = time.monotonic()
        loaded.stop("db")
        refused = loaded.post("/loadtest/order/refused")
        load.over.wait(stopped + OUTAGE_SECONDS - time.monotonic())
        loaded.compose("start", "db")
        eventually(
            lambda: loaded.inspect("db", "{{.State.Health.Status}}") == "healthy",
            seconds=120,
            what="the database is healthy",
        )
        seconds = seconds_to_recover(load, time.monotonic(), lambda: True)

    longest = max(outcome.seconds for outcome in load.failed)
    figures.add(
        f"the database stopped for {OUTAGE_SECONDS} s",
        f"writes 503 within {FAST_SECONDS} s; pages, files and /readyz 0 failed; no server taken "
        f"out; recovered within {RECOVERY_SECONDS} s of the database",
        load,
        f"longest 503 {longest:.1f} s; recovered after {seconds:.1f} s",
    )
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "5"
    assert "database" in refused.json()["detail"]
    assert {(o.request.method, o.status) for o in load.failed} == {("POST", 503)}, load.summary()
    assert longest <= FAST_SECONDS
    assert seconds <= RECOVERY_SECONDS
    check_writes(load, loaded)
    assert loaded.taken_out() == taken_out
    after = [loaded.inspect(name, "{{.State.StartedAt}}") for name in ("server1", "server2")]
    assert after == started
