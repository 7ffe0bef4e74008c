"""How many requests a client may make, and that an outage of the cache refuses nobody."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache, caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client
from pytest_django import DjangoDbBlocker, Settings
from rest_framework.settings import api_settings

from ops import throttling
from ops.throttling import RateThrottle

pytestmark = pytest.mark.django_db


class DeadCache(LocMemCache):
    """A cache server that is away."""

    def get_many(self, *args: Any, **options: Any) -> dict[str, Any]:
        raise ConnectionError("refused")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Count from nothing, in the middle of a period."""
    cache.clear()
    monkeypatch.setattr(throttling, "time", lambda: 1_000_000_030.0)
    yield
    cache.clear()


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the limits, to be changed."""
    changed = {"anon": "3/minute", "user": "5/minute", "login": "2/minute"}
    monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", changed)
    return changed


def statuses(client: Client, count: int, path: str = "/api/hits/", **options: Any) -> list[int]:
    """Return the statuses of so many requests."""
    return [client.get(path, **options).status_code for _ in range(count)]


@pytest.mark.usefixtures("rates")
def test_too_many_requests_are_refused_with_when_to_come_again(client: Client) -> None:
    assert statuses(client, 4) == [200, 200, 200, 429]

    refused = client.get("/api/hits/")
    assert "Request was throttled" in refused.json()["detail"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 120


def test_it_ends_when_retry_after_says(
    client: Client, rates: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates["anon"] = "30/minute"
    assert statuses(client, 31)[-1] == 429
    wait = int(client.get("/api/hits/").headers["Retry-After"])

    monkeypatch.setattr(throttling, "time", lambda: 1_000_000_030.0 + wait - 3)
    assert client.get("/api/hits/").status_code == 429
    monkeypatch.setattr(throttling, "time", lambda: 1_000_000_030.0 + wait + 1)
    assert client.get("/api/hits/").status_code == 200


@pytest.mark.usefixtures("rates")
def test_the_limit_slides_over_the_edge_of_a_minute(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three just before the edge and three just after would be six within a second."""
    edge = 1_000_000_020.0 + 60
    monkeypatch.setattr(throttling, "time", lambda: edge - 1)
    assert statuses(client, 3) == [200] * 3

    monkeypatch.setattr(throttling, "time", lambda: edge + 1)
    assert statuses(client, 1) == [429]
    monkeypatch.setattr(throttling, "time", lambda: edge + 59)
    assert statuses(client, 2) == [200] * 2


@pytest.mark.usefixtures("rates")
def test_each_client_has_its_own_count(client: Client) -> None:
    first = statuses(client, 4, REMOTE_ADDR="192.0.2.1")
    second = statuses(client, 4, REMOTE_ADDR="192.0.2.2")

    assert first == second == [200, 200, 200, 429]


@pytest.mark.usefixtures("rates")
def test_a_header_makes_nobody_someone_else(client: Client) -> None:
    found = [
        client.get("/api/hits/", headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code
        for n in range(4)
    ]

    assert found == [200, 200, 200, 429]


@pytest.mark.usefixtures("rates")
def test_a_network_of_ipv6_is_one_client(client: Client) -> None:
    found = [
        client.get("/api/hits/", REMOTE_ADDR=f"2001:db8::{n}").status_code for n in range(1, 5)
    ]

    assert found == [200, 200, 200, 429]
    assert statuses(client, 1, REMOTE_ADDR="2001:db8:0:1::1") == [200]


@pytest.mark.usefixtures("rates")
def test_users_have_a_limit_of_their_own() -> None:
    for name in ("one", "two"):
        client = Client()
        client.force_login(User.objects.create_user(name))
        assert statuses(client, 6, "/api/uploads/") == [200] * 5 + [429]


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize("path", ["/profile/", "/livez", "/readyz", "/"])
def test_what_people_look_for_faults_with_is_never_refused(client: Client, path: str) -> None:
    assert set(statuses(client, 9, path)) == {200}


def test_a_limit_can_be_off(client: Client, rates: dict[str, str]) -> None:
    rates["anon"] = "off"

    assert set(statuses(client, 50)) == {200}


@pytest.mark.usefixtures("rates")
def test_without_the_cache_everyone_is_let_through(
    client: Client, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.DeadCache"}}
    RateThrottle.warned = float("-inf")

    assert set(statuses(client, 9)) == {200}
    told = [line for line in caplog.messages if "requests are not limited" in line]
    # One line in five seconds.
    assert len(told) == 1


def test_the_database_s_cache_counts_exactly(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    django_db_blocker: DjangoDbBlocker,
) -> None:
    """`make run` has no Redis, but two processes."""
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

    if connection.vendor == "sqlite":  # in memory it would be another one for each thread
        monkeypatch.setitem(connections.settings["default"], "NAME", str(path))
    with django_db_blocker.unblock(), ThreadPoolExecutor(4) as threads:
        threads.submit(prepare).result()
        found = [number for numbers in threads.map(count, range(4)) for number in numbers]

    assert sorted(found) == list(range(1, 101))
