"""Request limits of clients, and no limits during a cache outage."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache, caches
from django.core.cache.backends import base, locmem
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client
from pytest_django import DjangoDbBlocker, Settings
from rest_framework.settings import api_settings

from ops import throttling
from ops.throttling import RateThrottle

User = get_user_model()

pytestmark = pytest.mark.django_db


class DeadCache(LocMemCache):
    """A cache server that is down."""

    def get_many(self, *args: Any, **options: Any) -> dict[str, Any]:
        raise ConnectionError("refused")


# The begin of a minute, an hour and a day.
MIDNIGHT = 1_000_080_000.0


class Clock:
    """The clock of the throttles and the cache, which only a test moves."""

    now = MIDNIGHT + 10

    def read(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Begin in the middle of a period."""
    clock = Clock()
    monkeypatch.setattr(throttling, "time", clock.read)
    for module in (base, locmem):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=clock.read))
    return clock


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the rates, which a test may change."""
    changed = {"anon": "3/minute", "user": "5/minute", "login": "2/minute"}
    monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", changed)
    return changed


def statuses(client: Client, count: int, path: str = "/api/orders/", **options: Any) -> list[int]:
    """Return the statuses of `count` requests."""
    return [client.get(path, **options).status_code for _ in range(count)]


@pytest.mark.usefixtures("rates")
def test_requests_over_the_limit_are_429_with_retry_after(client: Client) -> None:
    assert statuses(client, 4) == [200, 200, 200, 429]

    refused = client.get("/api/orders/")
    assert "Request was throttled" in refused.json()["detail"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 120


@pytest.mark.parametrize(
    ("rate", "period"),
    [("30/second", 1), ("30/minute", 60), ("30/hour", 3600), ("30/day", 86_400)],
)
def test_throttling_ends_after_retry_after(
    client: Client, rates: dict[str, str], clock: Clock, rate: str, period: int
) -> None:
    rates["anon"] = rate
    refused = MIDNIGHT + 0.5
    clock.now = refused
    assert statuses(client, 31)[-1] == 429
    wait = int(client.get("/api/orders/").headers["Retry-After"])
    # Until one of 30 no longer counts.
    assert wait == pytest.approx(period * 31 / 30 - 0.5, abs=1)

    # Retry-After is in whole seconds.
    clock.now = refused + wait - 1.1
    assert client.get("/api/orders/").status_code == 429
    clock.now = refused + wait
    assert client.get("/api/orders/").status_code == 200


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize("counted", [0, 59])
def test_throttling_uses_a_sliding_window(client: Client, clock: Clock, counted: int) -> None:
    """Three just before the edge and three just after would be six within a second.

    The cache keeps counters that long, also one from the begin of its minute.
    """
    edge = MIDNIGHT + 60
    clock.now = MIDNIGHT + counted
    assert statuses(client, 3) == [200] * 3

    # Two of three count until a third of the next minute is over.
    for seconds, expected in ((1, 429), (19.5, 429), (21, 200), (22, 429), (39, 429), (41, 200)):
        clock.now = edge + seconds
        answer = client.get("/api/orders/")
        assert answer.status_code == expected, seconds
        if expected == 429:
            due = 20 if seconds < 20 else 40
            assert due - seconds <= int(answer.headers["Retry-After"]) <= due - seconds + 1


def passes(before: int, current: int, limit: int, seconds: float) -> bool:
    """Return whether one more request passes, `seconds` after the begin of a minute."""
    if seconds >= 60:
        before, current, seconds = current, 0, seconds - 60
    return before * (1 - seconds / 60) + current + 1 <= limit


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
@pytest.mark.parametrize("seconds", [0, 10.5, 30, 59.5])
def test_throttling_wait_is_as_short_as_possible(limit: int, seconds: float) -> None:
    moment = 0.001
    for before, current in product(range(limit + 1), repeat=2):
        if passes(before, current, limit, seconds):
            continue
        results = throttling.wait(before, current, limit, 60, seconds)
        assert results >= 1 and passes(before, current, limit, seconds + results + moment)
        assert results == 1 or not passes(before, current, limit, seconds + results - moment)


def test_throttling_counts_parallel_requests_of_several_servers(
    client: Client, rates: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each server reads the counters before another one increments them."""
    rates["anon"] = "4/minute"
    # Five sixths of the previous minute still count.
    monkeypatch.setattr(cache, "get_many", lambda keys: {keys[0]: 2})

    assert statuses(client, 2) == [200, 200]
    refused = client.get("/api/orders/")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "50"


@pytest.mark.usefixtures("rates")
def test_throttling_counters_expire_after_two_periods(client: Client, clock: Clock) -> None:
    """Otherwise Redis would keep one for each client and minute."""
    statuses(client, 1)

    store = caches["default"]
    assert isinstance(store, LocMemCache)
    assert set(store._expire_info.values()) == {clock.now + 120}


@pytest.mark.usefixtures("rates")
def test_throttling_counts_clients_without_an_address_as_one(client: Client) -> None:
    results = [
        client.get("/api/orders/", REMOTE_ADDR=text).status_code for text in ("", "unix:", "-")
    ]

    assert [*results, *statuses(client, 1, REMOTE_ADDR="")] == [200, 200, 200, 429]


@pytest.mark.usefixtures("rates")
def test_throttling_counts_each_client_separately(client: Client) -> None:
    first = statuses(client, 4, REMOTE_ADDR="192.0.2.1")
    second = statuses(client, 4, REMOTE_ADDR="192.0.2.2")

    assert first == second == [200, 200, 200, 429]


@pytest.mark.usefixtures("rates")
def test_throttling_ignores_x_forwarded_for(client: Client) -> None:
    results = [
        client.get("/api/orders/", headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code
        for n in range(4)
    ]

    assert results == [200, 200, 200, 429]


@pytest.mark.usefixtures("rates")
def test_throttling_counts_an_ipv6_64_network_as_one_client(client: Client) -> None:
    addresses = ("2001:db8::1", "2001:db8::2", "2001:db8::8000:0:0:1", "2001:db8::ffff:0:0:1")
    results = [client.get("/api/orders/", REMOTE_ADDR=text).status_code for text in addresses]

    assert results == [200, 200, 200, 429]
    assert statuses(client, 1, REMOTE_ADDR="2001:db8:0:1::1") == [200]


@pytest.mark.usefixtures("rates")
def test_throttling_limits_each_user_separately() -> None:
    for name in ("one", "two"):
        client = Client()
        client.force_login(User.objects.create_user(name))
        assert statuses(client, 6, "/api/orders/") == [200] * 5 + [429]


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize("path", ["/profile/", "/livez", "/readyz", "/status/"])
def test_probes_profile_and_status_page_are_never_throttled(client: Client, path: str) -> None:
    assert set(statuses(client, 9, path)) == {200}


def test_throttle_rate_can_be_off(client: Client, rates: dict[str, str]) -> None:
    rates["anon"] = "off"

    assert set(statuses(client, 50)) == {200}


@pytest.mark.usefixtures("rates")
def test_cache_outage_turns_off_throttling(
    client: Client,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.DeadCache"}}
    monkeypatch.setattr(RateThrottle, "warned", float("-inf"))

    # One log line in five seconds.
    for seconds, lines in ((100, 1), (105, 1), (105.5, 2), (110, 2), (111, 3)):
        monkeypatch.setattr(throttling, "monotonic", lambda now=seconds: now)
        assert set(statuses(client, 9)) == {200}
        warnings = [line for line in caplog.messages if "requests are not limited" in line]
        assert len(warnings) == lines, seconds
    assert "(refused)" in warnings[0]


def test_database_cache_counts_exactly_in_parallel(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    django_db_blocker: DjangoDbBlocker,
) -> None:
    """`make run` has two processes, and no Redis."""
    # This cache uses the clock of the database.
    monkeypatch.undo()
    settings.CACHES = {
        "default": {"BACKEND": "ops.cache.ExactDatabaseCache", "LOCATION": "cache"},
    }
    path = tmp_path / "db.sqlite3"

    def count(_: int) -> list[int]:
        try:
            return [caches["default"].incr("key") for _ in range(25)]
        finally:
            connections.close_all()

    def prepare() -> None:
        try:
            call_command("createcachetable")
            caches["default"].set("key", 0)
        finally:
            connections.close_all()

    if connection.vendor == "sqlite":  # in memory, each thread would have its own database
        monkeypatch.setitem(connections.settings["default"], "NAME", str(path))
    with django_db_blocker.unblock(), ThreadPoolExecutor(4) as threads:
        threads.submit(prepare).result()
        results = [number for numbers in threads.map(count, range(4)) for number in numbers]

    assert sorted(results) == list(range(1, 101))
