"""The connections of MySQL and PostgreSQL with scripted drivers; only images have the real ones."""

import importlib
import select
import socket
import sqlite3
import sys
from collections.abc import Callable, Generator, Iterator
from types import ModuleType
from typing import Any

import pytest

from ops.breaker import AwayError, Breaker

PARAMETERS = {"host": "db", "read_timeout": 7}


class Client:
    """MySQL's client: records what it sends, and has an answer unless it hangs."""

    OperationalError = sqlite3.OperationalError
    hangs = False
    cipher = "TLS_AES_256_GCM_SHA384"

    def __init__(self, **options: Any) -> None:
        """Connect."""
        self.options, self.open = options, True
        self.sent: list[bytes] = []
        self.ends = socket.socketpair()
        self.in_transaction = True

    def send_query(self, query: bytes) -> None:
        """Send a statement; the answer comes at once, or never."""
        self.sent.append(query)
        if not self.hangs:
            self.ends[1].send(b".")

    def fileno(self) -> int:
        """Return what becomes readable with the answer."""
        return self.ends[0].fileno()

    def read_query_result(self) -> None:
        """Read the answer."""
        assert self.ends[0].recv(1) == b"."

    def query(self, query: bytes | str) -> None:
        """Send a statement, and wait for its answer however long it takes."""
        self.sent.append(query if isinstance(query, bytes) else query.encode())

    def store_result(self) -> "Client":
        """Return the rows."""
        return self

    def fetch_row(self) -> tuple[tuple[str, str]]:
        """Return the row of SHOW STATUS."""
        return (("Ssl_cipher", self.cipher),)

    def get_autocommit(self) -> bool:
        """Return the server's state."""
        return not self.in_transaction

    def ping(self) -> None:
        """Send a ping past `query`."""
        pytest.fail("nothing would end it")

    commit = rollback = ping

    def close(self) -> None:
        """Fail at a closed connection, as the driver does."""
        assert self.open
        self.open = False


class Psycopg:
    """PostgreSQL's connection: what is ready in each step is scripted."""

    def __init__(self, *ready: int) -> None:
        """Keep the script."""
        self.ready, self.open = list(ready), True

    def wait(self, steps: Generator[Any, Any, Any], timeout: float | None = None) -> object:
        """Run a statement as psycopg does."""
        try:
            next(steps)
            while True:
                steps.send(self.ready.pop(0))
        except StopIteration as end:
            return end.value

    def close(self) -> None:
        """Record it."""
        self.open = False


class Wrapper:
    """Django's wrapper of either."""

    Database = sqlite3

    def get_new_connection(self, conn_params: dict[str, Any]) -> Psycopg:
        """Connect to PostgreSQL, which knows no `read_timeout`."""
        assert conn_params.keys() == {"host"}
        return Psycopg(1)


def imported(engine: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module of a backend, with Django's own replaced."""
    django = {"mysql": "mysql", "postgres": "postgresql"}[engine]
    for name in (f"django.db.backends.{django}.base", "MySQLdb", "MySQLdb.connections"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["MySQLdb.connections"].__dict__["Connection"] = Client
    sys.modules[f"django.db.backends.{django}.base"].__dict__["DatabaseWrapper"] = Wrapper
    monkeypatch.delitem(sys.modules, f"ops.database.{engine}.base", raising=False)
    module = importlib.import_module(f"ops.database.{engine}.base")
    monkeypatch.setattr(module, "DATABASE", Breaker("the database"))
    return module


@pytest.fixture
def mysql(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return MySQL's backend."""
    return imported("mysql", monkeypatch)


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return PostgreSQL's backend."""
    return imported("postgres", monkeypatch)


@pytest.fixture
def connection(mysql: ModuleType) -> Iterator[Any]:
    """Return a watched connection to MySQL."""
    connection = mysql.DatabaseWrapper().connect_now(PARAMETERS)
    yield connection
    for end in connection.ends:
        end.close()


def gives_up(seconds: float) -> Callable[[], None]:
    """Return a check that finds that the server hangs."""

    def check() -> None:
        raise AwayError(f"no answer for {seconds} s")

    return check


def test_mysql_statement_that_is_answered_shows_that_the_database_is_up(connection: Any) -> None:
    words = ["SELECT 1", b"SELECT 2"]
    for statement in words:
        connection.query(statement)

    assert connection.sent == [b"SELECT 1", b"SELECT 2"] and connection.open


def test_mysql_statement_of_a_hanging_server_closes_the_connection_once(
    connection: Any, mysql: ModuleType
) -> None:
    """Its late answer would be read as that of the next statement."""
    connection.hangs = True
    connection.watch = lambda: gives_up(7)

    with pytest.raises(sqlite3.OperationalError, match=r"\(2013, 'no answer for 7 s'\)"):
        connection.query("SELECT 1")
    assert not connection.open
    # Django closes it too.
    connection.close()


def test_mysql_sends_nothing_to_a_database_that_is_known_to_hang(
    connection: Any, mysql: ModuleType
) -> None:
    mysql.DATABASE.open()

    with pytest.raises(sqlite3.OperationalError, match="a moment ago"):
        connection.query("SELECT 1")
    assert connection.sent == [] and not connection.open


def test_mysql_driver_sends_its_own_words_as_watched_statements(connection: Any) -> None:
    connection.ping()
    connection.commit()
    connection.rollback()
    connection.autocommit(True)
    # It is so already.
    connection.autocommit(False)

    assert connection.sent == [b"DO 0", b"COMMIT", b"ROLLBACK", b"SET autocommit = 1"]


def test_mysql_checks_a_silent_server_several_times_a_second(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    class Silent:
        """A poll without an answer."""

        def register(self, *what: int) -> None: ...

        def poll(self, milliseconds: float) -> list[int]:
            limits.append(milliseconds)
            return [1] if len(limits) == 3 else []

    monkeypatch.setattr(select, "poll", Silent)
    checks: list[None] = []
    connection.wait(lambda: checks.append(None))

    assert len(checks) == 2 and max(limits) <= 250


@pytest.mark.parametrize("engine", ["mysql", "postgres"])
def test_limit_of_a_watched_statement_is_the_read_timeout(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = imported(engine, monkeypatch)
    limits: list[float] = []

    def watch(check: Callable[[], bool], *, seconds: float) -> Callable[[], None]:
        limits.append(seconds)
        return lambda: None

    monkeypatch.setattr(module.DATABASE, "watch", watch)
    connection = module.DatabaseWrapper().connect_now(PARAMETERS)
    if engine == "mysql":
        connection.query("SELECT 1")
    else:
        connection.wait(statement())
    assert limits == [7]

    unlimited = module.DatabaseWrapper().connect_now({"host": "db"})
    assert not {"watch", "wait"} & vars(unlimited).keys()


@pytest.mark.parametrize("mode", ["REQUIRED", "PREFERRED"])
def test_mysql_connection_without_tls_is_closed_where_tls_is_required(
    mysql: ModuleType, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(Client, "cipher", "")
    connect = mysql.DatabaseWrapper().connect_now
    if mode != "REQUIRED":
        assert connect({"ssl_mode": mode}).open
        return

    with pytest.raises(sqlite3.OperationalError, match="SSL is required"):
        connect({"ssl_mode": mode})


@pytest.mark.parametrize(("code", "answered"), [(0, False), (1045, True), (2003, False)])
def test_mysql_error_of_the_server_is_an_answer(
    mysql: ModuleType, code: int, answered: bool
) -> None:
    error = sqlite3.OperationalError(code, "words")

    assert mysql.DatabaseWrapper().was_answered(error) is answered


def statement() -> Generator[str, int, str]:
    """Wait until something is ready, and return the result."""
    while not (yield "read"):
        pass
    return "rows"


def run(
    postgres: ModuleType, connection: Psycopg, check: Callable[[], None], **options: float
) -> Any:
    """Run a statement on a watched connection."""
    wait = postgres.watched(connection, sqlite3.OperationalError, lambda: check)
    return wait(statement(), **options)


def test_postgres_statement_is_checked_while_nothing_is_ready(postgres: ModuleType) -> None:
    checks: list[None] = []

    assert run(postgres, Psycopg(0, 0, 1), lambda: checks.append(None)) == "rows"
    assert len(checks) == 2


def test_postgres_statement_of_a_hanging_server_closes_the_connection(postgres: ModuleType) -> None:
    connection = Psycopg(0, 1)

    with pytest.raises(sqlite3.OperationalError, match="no answer for 7 s"):
        run(postgres, connection, gives_up(7))
    assert not connection.open


def test_postgres_sends_nothing_to_a_database_that_is_known_to_hang(postgres: ModuleType) -> None:
    postgres.DATABASE.open()
    connection = Psycopg(1)

    with pytest.raises(sqlite3.OperationalError, match="a moment ago"):
        run(postgres, connection, gives_up(7))
    assert connection.ready == [1] and not connection.open

    # A caller that gives a limit waits that long, such as for the end of a connection.
    assert run(postgres, connection, gives_up(7), timeout=3) == "rows"


@pytest.mark.parametrize("engine", ["mysql", "postgres"])
def test_answered_statement_lets_others_connect(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = imported(engine, monkeypatch)
    connection = module.DatabaseWrapper().connect_now(PARAMETERS)
    # While this one waits for its answer, another worker's attempt to connect fails.
    monkeypatch.setattr(module.DATABASE, "watch", lambda check, seconds: module.DATABASE.open())
    if engine == "mysql":
        connection.query("SELECT 1")
    else:
        connection.wait(statement())

    assert not module.DATABASE.is_open


def test_refusal_of_postgres_is_an_answer(postgres: ModuleType) -> None:
    answered = postgres.DatabaseWrapper().was_answered

    assert answered(sqlite3.OperationalError("FATAL: sorry, too many clients already"))
    assert not answered(sqlite3.OperationalError("connection refused"))
