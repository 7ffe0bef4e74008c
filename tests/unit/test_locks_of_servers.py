"""The lock on MySQL and PostgreSQL, with their locking functions in memory.

tests/stack/test_databases.py runs test_locks.py on the servers themselves.
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
    """A database server: which connection holds which lock."""

    def __init__(self, vendor: str) -> None:
        """Begin without any."""
        self.vendor = vendor
        self.holders: dict[object, Connection] = {}

    def connection(self, database: str = "site") -> Any:
        """Return a connection to one of its databases."""
        return Connection(self, database)


class Connection:
    """A connection, as far as the lock uses it; it is its own cursor."""

    def __init__(self, server: Server, database: str) -> None:
        """Describe it."""
        self.server, self.vendor = server, server.vendor
        self.settings_dict = {"NAME": database, "HOST": "db", "PORT": ""}
        self.answer: object = None

    def copy(self) -> "Connection":
        """Return another connection to the same database."""
        return Connection(self.server, self.settings_dict["NAME"])

    def close(self) -> None:
        """End, with all locks."""
        holders = self.server.holders
        for key in [key for key, holder in holders.items() if holder is self]:
            del holders[key]

    def cursor(self) -> Any:
        """Return a cursor."""
        return nullcontext(self)

    def execute(self, sql: str, parameters: list[str]) -> None:
        """Take a lock if it is free."""
        (name,) = parameters
        key: object
        if self.vendor == "mysql":
            assert MYSQL.fullmatch(sql) and len(name) <= 64
            # The whole server's, whichever database is used.
            key, free, taken = name, 1, 0
        else:
            assert POSTGRESQL.fullmatch(sql)
            key, free, taken = (self.settings_dict["NAME"], name), True, False
        holder = self.server.holders.setdefault(key, self)
        self.answer = free if holder is self else taken

    def fetchone(self) -> tuple[object]:
        """Return the answer."""
        return (self.answer,)


class Clock:
    """A time that passes only while a caller sleeps."""

    def __init__(self) -> None:
        """Begin."""
        self.now = 1000.0
        self.at_next_sleep: list[Callable[[], object]] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass, and what happens meanwhile happen."""
        self.now += seconds
        if self.at_next_sleep:
            self.at_next_sleep.pop(0)()

    @classmethod
    def of(cls, monkeypatch: pytest.MonkeyPatch) -> Self:
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
    return Clock.of(monkeypatch)


def take(server: Server, name: str = "migrate", database: str = "site", seconds: float = 0) -> Any:
    """Return the lock, to be held in a `with` block."""
    return exclusive_lock(server.connection(database), name, seconds, print)


def test_a_lock_has_one_holder(server: Server) -> None:
    with take(server), pytest.raises(DatabaseNotReadyError), take(server):
        pytest.fail("two holders")


def test_another_lock_and_another_database_s_lock_are_free(server: Server) -> None:
    with take(server), take(server, name="static"), take(server, database="other"):
        assert len(server.holders) == 3


def test_a_lock_is_free_after_its_block_and_after_an_error_in_it(server: Server) -> None:
    with take(server):
        assert server.holders
    assert not server.holders

    with pytest.raises(KeyError), take(server):
        raise KeyError
    assert not server.holders


def test_the_connection_that_does_the_work_holds_no_lock(server: Server) -> None:
    """It may reconnect, and would lose it."""
    connection = server.connection()

    with exclusive_lock(connection, "migrate", 0, print):
        assert server.holders and connection not in server.holders.values()


def test_a_waiting_process_says_so_once_and_gets_the_lock_when_it_is_free(
    server: Server, clock: Clock
) -> None:
    said: list[str] = []
    first = take(server)
    first.__enter__()
    clock.at_next_sleep = [list, list, lambda: first.__exit__(None, None, None)]

    with exclusive_lock(server.connection(), "migrate", 60, said.append):
        assert len(server.holders) == 1

    assert said == ["another process holds the lock 'migrate'; waiting up to 60 s"]
    assert clock.now == 1000 + 3 * locks.POLL_SECONDS


def test_waiting_ends_after_the_given_time(server: Server, clock: Clock) -> None:
    with take(server):
        with pytest.raises(DatabaseNotReadyError) as caught, take(server, seconds=30):
            pytest.fail("two holders")
        assert len(server.holders) == 1

    assert clock.now == 1030
    database = {"mysql": "MySQL", "postgresql": "PostgreSQL"}[server.vendor]
    message = str(caught.value)
    for part in ("'migrate'", f"{database} database 'site' at db:", "more than 30 s"):
        assert part in message


def test_mysql_s_failure_to_lock_is_no_lock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers NULL when it runs out of memory, or the session is killed."""
    monkeypatch.setattr(Connection, "fetchone", lambda _: (None,))

    with pytest.raises(DatabaseNotReadyError), take(Server("mysql")):
        pytest.fail("it is not held")
