"""/api/hits/: the visit counter, exact however many count at once."""

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
    """Let threads that start now find a database of their own, in a file."""
    path = tmp_path / "db.sqlite3"
    monkeypatch.setitem(connections.settings["default"], "NAME", str(path))
    with django_db_blocker.unblock():
        yield path


def closing(work: Callable[[], T]) -> T:
    """Do the work and close the thread's connection."""
    try:
        return work()
    finally:
        connections.close_all()


def in_threads(work: Callable[[], T], count: int = THREADS) -> list[T]:
    """Do the work in several threads at once, each with a connection of its own."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(closing, [work] * count))


@pytest.mark.django_db
def test_the_count_starts_at_zero_and_counts_posts(client: Client, settings: Settings) -> None:
    settings.PROFILE = "set2"

    first = client.get("/api/hits/")
    counted = [client.post("/api/hits/").json()["hits"] for _ in range(3)]

    assert (first.status_code, first.json()) == (200, {"hits": 0, "server": "set2"})
    assert counted == [1, 2, 3]
    assert client.get("/api/hits/").json()["hits"] == 3


@pytest.mark.django_db
def test_reading_counts_nothing_and_makes_no_row(client: Client) -> None:
    for method in (client.get, client.head, client.options):
        assert method("/api/hits/").status_code == 200

    assert not Counter.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post"])
def test_no_cache_keeps_a_count(client: Client, method: str) -> None:
    assert getattr(client, method)("/api/hits/").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_the_count_cannot_be_set(client: Client, method: str) -> None:
    assert getattr(client, method)("/api/hits/").status_code == 405


@pytest.mark.django_db
def test_counters_are_apart(client: Client) -> None:
    assert [Counter.increment("other") for _ in range(2)] == [1, 2]

    assert client.post("/api/hits/").json()["hits"] == 1


@pytest.mark.django_db
def test_another_site_cannot_count_in_a_user_s_name() -> None:
    """A signed-in browser's POST needs the CSRF token, as everywhere."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("someone"))

    assert client.post("/api/hits/").status_code == 403
    assert Counter.read("visits") == 0


@pytest.mark.usefixtures("file_database")
def test_no_visit_is_lost_and_no_count_is_given_twice() -> None:
    in_threads(lambda: call_command("migrate", verbosity=0), count=1)

    def visit() -> list[int]:
        client = Client()
        return [client.post("/api/hits/").json()["hits"] for _ in range(VISITS_EACH)]

    answers = in_threads(visit)

    expected = list(range(1, THREADS * VISITS_EACH + 1))
    assert sorted(hits for one in answers for hits in one) == expected
    # No visitor ever sees the count go back.
    assert all(one == sorted(one) for one in answers)
    assert in_threads(lambda: Counter.read("visits"), count=1) == [expected[-1]]


@pytest.mark.django_db
def test_the_database_adds_before_anyone_reads(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """MySQL and PostgreSQL let two read at once; the addition takes the row's lock first."""
    Counter.increment("visits")

    with django_assert_num_queries(4) as queries:
        Counter.increment("visits")

    begin, add, read, end = (query["sql"] for query in queries)
    # However the database quotes its names.
    assert add.startswith("UPDATE") and re.search(r"\bvalue\W \+ 1", add)
    assert read.startswith("SELECT")
    assert "SAVEPOINT" in begin and "SAVEPOINT" in end


def test_atomic_requests_make_the_counter_in_redis_no_part_of_the_database(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A team may set it: Django then begins a transaction before each other view."""

    def no_database() -> None:
        raise OperationalError(2003, "away")

    def no_counter(name: str) -> int:
        raise counters.CounterUnavailableError(name)

    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    monkeypatch.setattr(connection, "ensure_connection", no_database)
    monkeypatch.setattr(counters, "read", no_counter)

    answer = client.get("/api/hits/")

    assert answer.status_code == 503
    assert "visit counter" in answer.json()["detail"]
