"""/api/hits/: the visit counter, exact under concurrent requests."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import OperationalError, connection, connections
from django.test import Client
from pytest_django import DjangoAssertNumQueries, DjangoDbBlocker, Settings

from demo import counters
from demo.models import Counter

User = get_user_model()

THREADS = 8
VISITS_EACH = 25

T = TypeVar("T")


@pytest.fixture
def file_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, django_db_blocker: DjangoDbBlocker
) -> Iterator[Path]:
    """Give threads that start now their own SQLite file."""
    path = tmp_path / "db.sqlite3"
    monkeypatch.setitem(connections.settings["default"], "NAME", str(path))
    with django_db_blocker.unblock():
        yield path


def close_connections_after(work: Callable[[], T]) -> T:
    """Run a function and close the database connections of its thread."""
    try:
        return work()
    finally:
        connections.close_all()


def run_in_threads(work: Callable[[], T], count: int = THREADS) -> list[T]:
    """Run a function in several threads, each with its own connection."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(close_connections_after, [work] * count))


@pytest.mark.django_db
def test_hits_start_at_zero_and_count_posts(client: Client, settings: Settings) -> None:
    settings.PROFILE = "set2"

    first = client.get("/api/hits/")
    counted = [client.post("/api/hits/").json()["hits"] for _ in range(3)]

    assert (first.status_code, first.json()) == (200, {"hits": 0, "server": "set2"})
    assert counted == [1, 2, 3]
    assert client.get("/api/hits/").json()["hits"] == 3


@pytest.mark.django_db
def test_reading_hits_creates_no_row(client: Client) -> None:
    for method in (client.get, client.head, client.options):
        assert method("/api/hits/").status_code == 200

    assert not Counter.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post"])
def test_hits_responses_are_not_cacheable(client: Client, method: str) -> None:
    assert getattr(client, method)("/api/hits/").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_hits_refuse_put_patch_and_delete(client: Client, method: str) -> None:
    assert getattr(client, method)("/api/hits/").status_code == 405


@pytest.mark.django_db
def test_counters_count_separately(client: Client) -> None:
    assert [Counter.increment("other") for _ in range(2)] == [1, 2]

    assert client.post("/api/hits/").json()["hits"] == 1


@pytest.mark.django_db
def test_hits_post_without_csrf_token_is_refused() -> None:
    """Otherwise other sites could count visits with the session of a signed-in browser."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("someone"))

    assert client.post("/api/hits/").status_code == 403
    assert Counter.read("visits") == 0


@pytest.mark.usefixtures("file_database")
def test_concurrent_visits_get_unique_consecutive_counts() -> None:
    run_in_threads(lambda: call_command("migrate", verbosity=0), count=1)

    def visit() -> list[int]:
        client = Client()
        return [client.post("/api/hits/").json()["hits"] for _ in range(VISITS_EACH)]

    answers = run_in_threads(visit)

    expected = list(range(1, THREADS * VISITS_EACH + 1))
    assert sorted(hits for one in answers for hits in one) == expected
    # The count never decreases for one visitor.
    assert all(one == sorted(one) for one in answers)
    assert run_in_threads(lambda: Counter.read("visits"), count=1) == [expected[-1]]


@pytest.mark.django_db
def test_increment_updates_the_row_before_reading_it(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """The UPDATE locks the row; with SELECT first, two requests could read the same count."""
    Counter.increment("visits")

    with django_assert_num_queries(4) as queries:
        Counter.increment("visits")

    begin, add, read, end = (query["sql"] for query in queries)
    # Databases quote names differently.
    assert add.startswith("UPDATE") and re.search(r"\bvalue\W \+ 1", add)
    assert read.startswith("SELECT")
    assert "SAVEPOINT" in begin and "SAVEPOINT" in end


def test_hits_in_redis_open_no_database_transaction_under_atomic_requests(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ATOMIC_REQUESTS, Django begins a transaction before each view."""

    def no_database(_: object) -> None:
        raise OperationalError(2003, "down")

    def no_counter(name: str) -> int:
        raise counters.CounterUnavailableError(name)

    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    # On the class: a patched connection would keep pytest-django's blocker as its method.
    monkeypatch.setattr(type(connections["default"]), "ensure_connection", no_database)
    monkeypatch.setattr(counters, "read", no_counter)

    answer = client.get("/api/hits/")

    assert answer.status_code == 503
    assert "visit counter" in answer.json()["detail"]
