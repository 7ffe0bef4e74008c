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
    """A driver's connection."""

    closed = False

    def close(self) -> None:
        """Note it."""
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
        """Ask the server."""
        self.tried.append("is_usable")
        return self.usable


class Connection(Watched, Driver):
    """A connection whose errors say in words what they mean."""

    def away_error(self, reason: str) -> Exception:
        """Return an error of no other kind."""
        return KeyError(reason)

    def is_away(self, error: Exception) -> bool:
        """Return whether it says so."""
        return "away" in str(error)

    def was_answered(self, error: Exception) -> bool:
        """Return whether it says so."""
        return "answered" in str(error)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Breaker:
    """A breaker of the test's own; its pause does not end."""
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 600)
    shared = Breaker("the database")
    monkeypatch.setattr(watched, "DATABASE", shared)
    return shared


@pytest.fixture
def connection(shared: Breaker) -> Connection:
    """A connection."""
    return Connection()


@pytest.fixture
def late(connection: Connection) -> Iterator[Session]:
    """What comes only when the test is over, or says so."""
    session, come = Session(), threading.Event()

    def connect() -> Session:
        come.wait(30)
        return session

    connection.connect = connect
    yield session
    come.set()
    eventually(lambda: session.closed, seconds=30, what="it is closed")


def fail(words: str) -> Callable[[], Session]:
    """Return what raises the driver's error."""

    def connect() -> Session:
        raise sqlite3.Error(words)

    return connect


def test_a_connection_is_returned_open_and_closes_the_breaker(
    connection: Connection, shared: Breaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.open()
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 0)

    session = connection.get_new_connection(PARAMETERS)

    assert not session.closed and connection.tried == [PARAMETERS]
    assert not shared.is_open


def test_a_server_that_hangs_is_given_up_and_then_refused_at_once(
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
def test_only_a_server_that_is_away_opens_the_breaker(
    connection: Connection, shared: Breaker, words: str, opened: bool
) -> None:
    connection.connect = fail(words)

    with pytest.raises(sqlite3.Error, match=words):
        connection.get_new_connection(PARAMETERS)

    assert shared.is_open is opened


def test_a_bug_of_ours_opens_no_breaker(connection: Connection, shared: Breaker) -> None:
    def connect() -> Session:
        raise TypeError

    connection.connect = connect
    with pytest.raises(TypeError):
        connection.get_new_connection(PARAMETERS)
    assert not shared.is_open
    # Nor is the turn kept.
    assert shared.take()


def test_a_check_closes_its_connection(connection: Connection) -> None:
    session = Session()
    connection.connect = lambda: session

    assert connection.answers(PARAMETERS)
    assert session.closed and connection.tried == [PARAMETERS]


def test_a_check_of_a_server_that_hangs_is_short(
    connection: Connection, late: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(watched, "CONNECT_SECONDS", 600)

    assert not connection.answers(PARAMETERS)


@pytest.mark.parametrize(("words", "answers"), [("answered: too many", True), ("away", False)])
def test_a_refusal_by_the_server_itself_is_an_answer(
    connection: Connection, words: str, answers: bool
) -> None:
    connection.connect = fail(words)

    assert connection.answers(PARAMETERS) is answers


def test_a_server_that_is_away_is_not_asked_whether_a_connection_is_usable(
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
