"""The lock on MySQL and PostgreSQL, with fake lock functions.

tests/stack/test_databases.py runs test_locks.py on real servers.
"""

import re
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, Self

import pytest

from ops.database import locks
from ops.database.locks import exclusive_lock
from ops.database.outage import DatabaseNotReadyError

MYSQL = re.compile(r"SELECT GET_LOCK\(%s, 0\)")
POSTGRESQL = re.compile(r"SELECT pg_try_advisory_lock\(hashtext\(%s\)\)")


class Server:
    """A database server that knows which connection holds which lock."""

    def __init__(self, vendor: str) -> None:
        """Begin without locks."""
        self.vendor = vendor
        self.holders: dict[object, Connection] = {}

    def connection(self, database: str = "site") -> Any:
        """Return a connection to one of its databases."""
        return Connection(self, database)


class Connection:
    """A connection with the methods that the lock uses; it is its own cursor."""

    def __init__(self, server: Server, database: str) -> None:
        """Set its database."""
        self.server, self.vendor = server, server.vendor
        self.settings_dict = {"NAME": database, "HOST": "db", "PORT": ""}
        self.answer: object = None

    def copy(self) -> "Connection":
        """Return another connection to the same database."""
        return Connection(self.server, self.settings_dict["NAME"])

    def close(self) -> None:
        """Close the connection and release its locks."""
        holders = self.server.holders
        for key in [key for key, holder in holders.items() if holder is self]:
            del holders[key]

    def cursor(self) -> Any:
        """Return a cursor."""
        return nullcontext(self)

    def execute(self, sql: str, parameters: list[str]) -> None:
        """Acquire a lock if it is free."""
        (name,) = parameters
        key: object
        if self.vendor == "mysql":
            assert MYSQL.fullmatch(sql) and len(name) <= 64
            # MySQL locks are for the whole server.
            key, free, held = name, 1, 0
        else:
            assert POSTGRESQL.fullmatch(sql)
            key, free, held = (self.settings_dict["NAME"], name), True, False
        holder = self.server.holders.setdefault(key, self)
        self.answer = free if holder is self else held

    def fetchone(self) -> tuple[object]:
        """Return the answer."""
        return (self.answer,)


class Clock:
    """A clock that moves only while a caller sleeps."""

    def __init__(self) -> None:
        """Begin."""
        self.now = 1000.0
        self.at_next_sleep: list[Callable[[], object]] = []

    def sleep(self, seconds: float) -> None:
        """Move the clock, and run the next callback."""
        self.now += seconds
        if self.at_next_sleep:
            self.at_next_sleep.pop(0)()

    @classmethod
    def installed(cls, monkeypatch: pytest.MonkeyPatch) -> Self:
        """Set the lock's clock."""
        clock = cls()
        own = SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.sleep)
        monkeypatch.setattr(locks, "time", own)
        return clock


@pytest.fixture(params=["mysql", "postgresql"])
def server(request: pytest.FixtureRequest) -> Server:
    """Return a server without locks."""
    return Server(request.param)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the lock's clock."""
    return Clock.installed(monkeypatch)


def acquire(
    server: Server, name: str = "migrate", database: str = "site", seconds: float = 0
) -> Any:
    """Return the lock as a context manager."""
    return exclusive_lock(server.connection(database), name, seconds, print)


def test_server_lock_has_one_holder(server: Server) -> None:
    with acquire(server), pytest.raises(DatabaseNotReadyError), acquire(server):
        pytest.fail("two holders")


def test_server_locks_are_separate_for_each_name_and_database(server: Server) -> None:
    with acquire(server), acquire(server, name="static"), acquire(server, database="other"):
        assert len(server.holders) == 3


def test_server_lock_is_released_after_its_block_and_after_an_exception(server: Server) -> None:
    with acquire(server):
        assert server.holders
    assert not server.holders

    with pytest.raises(KeyError), acquire(server):
        raise KeyError
    assert not server.holders


def test_server_lock_is_held_by_a_separate_connection(server: Server) -> None:
    """The working connection may reconnect, which would release the lock."""
    connection = server.connection()

    with exclusive_lock(connection, "migrate", 0, print):
        assert server.holders and connection not in server.holders.values()


def test_server_lock_wait_is_announced_once_and_ends_when_the_lock_is_free(
    server: Server, clock: Clock
) -> None:
    messages: list[str] = []
    first = acquire(server)
    first.__enter__()
    clock.at_next_sleep = [list, list, lambda: first.__exit__(None, None, None)]

    with exclusive_lock(server.connection(), "migrate", 60, messages.append):
        assert len(server.holders) == 1

    assert messages == ["another process holds the lock 'migrate'; waiting up to 60 s"]
    assert clock.now == 1000 + 3 * locks.POLL_SECONDS


def test_server_lock_wait_times_out(server: Server, clock: Clock) -> None:
    with acquire(server):
        with pytest.raises(DatabaseNotReadyError) as caught, acquire(server, seconds=30):
            pytest.fail("two holders")
        assert len(server.holders) == 1

    assert clock.now == 1030
    database = {"mysql": "MySQL", "postgresql": "PostgreSQL"}[server.vendor]
    message = str(caught.value)
    for part in ("'migrate'", f"{database} database 'site' at db:", "more than 30 s"):
        assert part in message


def test_mysql_get_lock_null_is_not_a_held_lock(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GET_LOCK returns NULL when the server is out of memory or the session is killed."""
    monkeypatch.setattr(Connection, "fetchone", lambda _: (None,))

    with pytest.raises(DatabaseNotReadyError), acquire(Server("mysql")):
        pytest.fail("it is not held")
