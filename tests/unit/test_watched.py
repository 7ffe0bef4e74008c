"""A connection to a database that may hang, with a scripted driver."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ops import breaker
from ops.breaker import Breaker
from ops.database import watched
from ops.database.watched import Watched
from tests.waiting import eventually

PARAMETERS = {"host": "db"}


class Session:
    """A connection of the driver."""

    closed = False

    def close(self) -> None:
        """Record the close."""
        self.closed = True


class Driver:
    """Django's connection, without a database."""

    Database = sqlite3

    def __init__(self) -> None:
        """Connect at once."""
        self.connect: Callable[[], Session] = Session
        self.tried: list[object] = []
        self.usable = True

    def get_new_connection(self, conn_params: dict[str, Any]) -> Session:
        """Connect."""
        self.tried.append(conn_params)
        return self.connect()

    def is_usable(self) -> bool:
        """Query the server."""
        self.tried.append("is_usable")
        return self.usable


class Connection(Watched, Driver):
    """A connection that classifies errors by their text."""

    def unavailable_error(self, reason: str) -> Exception:
        """Return an error that no other code raises."""
        return KeyError(reason)

    def is_unavailable(self, error: Exception) -> bool:
        """Return whether the text says so."""
        return "away" in str(error)

    def was_answered(self, error: Exception) -> bool:
        """Return whether the text says so."""
        return "answered" in str(error)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Breaker:
    """Return a new breaker whose pause does not end."""
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 600)
    shared = Breaker("the database")
    monkeypatch.setattr(watched, "DATABASE", shared)
    return shared


@pytest.fixture
def connection(shared: Breaker) -> Connection:
    """Return a connection."""
    return Connection()


@pytest.fixture
def late(connection: Connection) -> Iterator[Session]:
    """Return a session that connects only when the test ends."""
    session, come = Session(), threading.Event()

    def connect() -> Session:
        come.wait(30)
        return session

    connection.connect = connect
    yield session
    come.set()
    eventually(lambda: session.closed, seconds=30, what="it is closed")


def fail(words: str) -> Callable[[], Session]:
    """Return a function that raises the error of the driver."""

    def connect() -> Session:
        raise sqlite3.Error(words)

    return connect


def test_successful_database_connection_closes_the_breaker(
    connection: Connection, shared: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.open()
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 0)

    session = connection.get_new_connection(PARAMETERS)

    assert not session.closed and connection.tried == [PARAMETERS]
    assert not shared.is_open


def test_hanging_database_times_out_and_is_then_refused_at_once(
    connection: Connection, shared: Breaker, late: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "CONNECT_SECONDS", 0.05)
    monkeypatch.setattr(watched, "CHECK_SECONDS", 600)

    with pytest.raises(KeyError, match=r"did not answer within 0\.05 s"):
        connection.get_new_connection(PARAMETERS)
    assert shared.is_open
    with pytest.raises(KeyError, match="another worker a moment ago"):
        connection.get_new_connection(PARAMETERS)
    assert len(connection.tried) == 1


@pytest.mark.parametrize(
    ("words", "opened"), [("away", True), ("away, it answered", False), ("wrong password", False)]
)
def test_only_a_database_outage_opens_the_breaker(
    connection: Connection, shared: Breaker, words: str, opened: bool
) -> None:
    connection.connect = fail(words)

    with pytest.raises(sqlite3.Error, match=words):
        connection.get_new_connection(PARAMETERS)

    assert shared.is_open is opened


def test_programming_error_does_not_open_the_breaker(
    connection: Connection, shared: Breaker
) -> None:
    def connect() -> Session:
        raise TypeError

    connection.connect = connect
    with pytest.raises(TypeError):
        connection.get_new_connection(PARAMETERS)
    assert not shared.is_open
    # The lock is released.
    assert shared.take()


def test_database_check_closes_its_connection(connection: Connection) -> None:
    session = Session()
    connection.connect = lambda: session

    assert connection.answers(PARAMETERS)
    assert session.closed and connection.tried == [PARAMETERS]


def test_database_check_of_a_hanging_server_is_short(
    connection: Connection, late: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(watched, "CONNECT_SECONDS", 600)

    assert not connection.answers(PARAMETERS)


@pytest.mark.parametrize(("words", "answers"), [("answered: too many", True), ("away", False)])
def test_refused_connection_counts_as_an_answer(
    connection: Connection, words: str, answers: bool
) -> None:
    connection.connect = fail(words)

    assert connection.answers(PARAMETERS) is answers


def test_is_usable_does_not_query_a_database_with_an_open_breaker(
    connection: Connection, shared: Breaker
) -> None:
    assert connection.is_usable()
    connection.usable = False
    assert not connection.is_usable()
    assert len(connection.tried) == 2

    connection.usable = True
    shared.open()
    assert not connection.is_usable()
    assert len(connection.tried) == 2
