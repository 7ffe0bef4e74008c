"""Which database errors are an outage, and the wait until the database is up."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import (
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)
from django.db import Error as DatabaseError
from django.db.backends.sqlite3.base import DatabaseWrapper

from ops.database import outage as database
from ops.database.outage import DatabaseNotReadyError, is_outage, wait_for_database

PASSWORD = "hidden-password"
UNREACHABLE = OperationalError(2003, "Can't connect to MySQL server on 'db:3306' (111)")
REFUSED = OperationalError(1045, "Access denied for user 'web'@'10.0.0.2' (using password: YES)")


@pytest.mark.parametrize(
    "code", [0, 1040, 1053, 1205, 2002, 2003, 2005, 2006, 2012, 2013, 2026, 2027, 2055]
)
def test_mysql_connection_error_codes_are_an_outage(code: int) -> None:
    assert is_outage(OperationalError(code, "some text"))
    assert is_outage(InterfaceError(code, "some text"))


@pytest.mark.parametrize(
    "code",
    [
        1044,  # no right to the database
        1045,  # wrong password
        1049,  # no such database
        1054,  # no such column
        1142,  # no right to the table
        1213,  # deadlock: retry the transaction; the server is up
        3024,  # the query took too long
    ],
)
def test_mysql_access_and_query_error_codes_are_no_outage(code: int) -> None:
    assert not is_outage(OperationalError(code, "server has gone away"))


@pytest.mark.parametrize("kind", [ProgrammingError, DataError, IntegrityError, InternalError])
def test_wrong_query_is_no_outage(kind: type[DatabaseError]) -> None:
    assert not is_outage(kind(2006, "server has gone away"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('connection to server at "db" (10.0.0.2), port 5432 failed: Connection refused', True),
        ('connection to server on socket "/run/s.5432" failed: No such file or directory', True),
        ("could not translate host name db to address: Name or service not known", True),
        ("FATAL:  the database system is starting up", True),
        ("FATAL:  sorry, too many clients already", True),
        ("server closed the connection unexpectedly", True),
        ("terminating connection due to administrator command", True),
        ('FATAL:  password authentication failed for user "web"', False),
        ('FATAL:  database "site" does not exist', False),
        ('FATAL:  role "web" does not exist', False),
        ('FATAL:  pg_hba.conf rejects connection for host "10.0.0.2", user "web"', False),
        ('FATAL:  permission denied for database "site"', False),
        ('FATAL:  role "web" is not permitted to log in', False),
        ("fe_sendauth: no password supplied", False),
    ],
)
def test_postgresql_outage_is_recognized_by_its_message(text: str, expected: bool) -> None:
    assert is_outage(OperationalError(text)) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("08006", True),  # connection failure
        ("53300", True),  # too many connections
        ("55P03", True),  # lock timeout
        ("57P01", True),  # shut down by an administrator
        ("57P03", True),  # still starting
        ("58030", True),  # input or output error
        ("57014", False),  # the query took too long
        ("40P01", False),  # deadlock: retry the transaction; the server is up
        ("28P01", False),  # wrong password
    ],
)
def test_postgresql_outage_is_recognized_by_its_sqlstate(code: str, expected: bool) -> None:
    driver = Exception("some text")
    driver.sqlstate = code  # type: ignore[attr-defined]
    error = OperationalError("some text")
    error.__cause__ = driver

    assert is_outage(error) is expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELEC 1", False),
        ("SELECT * FROM missing", False),
        ("SELECT missing FROM present", False),
        ("INSERT INTO present (missing) VALUES (1)", False),
        ("CREATE TABLE present (a)", False),
        ("INSERT INTO present VALUES (1)", True),  # locked by another connection
    ],
)
def test_sqlite_lock_is_an_outage_and_a_wrong_query_is_none(
    tmp_path: Path, sql: str, expected: bool
) -> None:
    path = tmp_path / "db.sqlite3"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE present (a)")
    other.execute("BEGIN EXCLUSIVE" if expected else "SELECT 1")

    error = error_of(path, lambda cursor: cursor.execute(sql))

    other.close()
    assert isinstance(error, OperationalError)
    assert is_outage(error) is expected


@pytest.mark.parametrize(
    "code",
    [
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR_READ,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_PROTOCOL,
    ],
)
def test_sqlite_file_lock_or_disk_error_is_an_outage(code: int) -> None:
    driver = sqlite3.OperationalError("some text")
    driver.sqlite_errorcode = code
    error = OperationalError("some text")
    error.__cause__ = driver

    assert is_outage(error)


def error_of(path: Path, work: Callable[[Any], object]) -> DatabaseError:
    """Return what Django raises for this work on this SQLite database."""
    settings = sqlite_settings(path)
    wrapper = DatabaseWrapper({**settings, "OPTIONS": {"timeout": 0}})
    # Below Django's guards of a test: this is a connection of this test's own.
    wrapper.connection = wrapper.get_new_connection(wrapper.get_connection_params())
    try:
        with pytest.raises(DatabaseError) as caught, wrapper.wrap_database_errors:
            work(wrapper.connection.cursor())
    finally:
        wrapper.connection.close()
    return caught.value


def sqlite_settings(path: Path) -> dict[str, Any]:
    """Return the settings of a SQLite database."""
    return {"NAME": str(path), "USER": "", "HOST": "", "PORT": "", "TIME_ZONE": None}


class Clock:
    """A clock that runs only while a caller sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock of the module under test."""
    clock = Clock()
    monkeypatch.setattr(database, "time", clock)
    return clock


class Connection:
    """A MySQL connection that fails with these errors one at a time; the last one repeats."""

    vendor = "mysql"
    settings_dict = {
        "NAME": "site",
        "USER": "web",
        "PASSWORD": PASSWORD,
        "HOST": "db.example",
        "PORT": "",
    }

    def __init__(self, *errors: DatabaseError | None) -> None:
        self.errors = list(errors)
        self.tries = 0

    def ensure_connection(self) -> None:
        self.tries += 1
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        if error:
            raise error


def wait(connection: Connection, seconds: float) -> list[str]:
    """Wait for the database and return the messages."""
    messages: list[str] = []
    wait_for_database(connection, seconds, messages.append)
    return messages


def test_database_that_is_up_is_not_waited_for(clock: Clock) -> None:
    assert wait(Connection(None), 60) == []
    assert clock.now == 1000


def test_wait_for_database_is_announced_once_and_ends_when_it_is_up(clock: Clock) -> None:
    connection = Connection(UNREACHABLE, UNREACHABLE, UNREACHABLE, UNREACHABLE, None)

    messages = wait(connection, 60)

    assert messages == [
        "waiting up to 60 s for the MySQL database 'site' at db.example:default port",
    ]
    assert (connection.tries, clock.now) == (5, 1002)


def test_wait_for_database_times_out_with_the_next_step(clock: Clock) -> None:
    with pytest.raises(DatabaseNotReadyError) as caught:
        wait(Connection(UNREACHABLE), 30)

    message = str(caught.value)
    assert clock.now == pytest.approx(1030, abs=1)
    for part in ("MySQL database 'site' at db.example", "within 30 s", "DB_WAIT_SECONDS", "(111)"):
        assert part in message
    assert PASSWORD not in message


def test_wait_for_database_of_0_seconds_tries_once(clock: Clock) -> None:
    connection = Connection(UNREACHABLE)

    with pytest.raises(DatabaseNotReadyError):
        wait(connection, 0)

    assert (connection.tries, clock.now) == (1, 1000)


@pytest.mark.parametrize(
    "error", [REFUSED, OperationalError(1049, "Unknown database 'site'"), ProgrammingError("odd")]
)
def test_database_that_refuses_the_login_fails_without_waiting(
    clock: Clock, error: DatabaseError
) -> None:
    connection = Connection(error)

    with pytest.raises(DatabaseNotReadyError) as caught:
        wait(connection, 60)

    assert (connection.tries, clock.now) == (1, 1000)
    message = str(caught.value)
    for part in ("refused user 'web'", str(error), "DATABASE_URL", "DB_PASSWORD"):
        assert part in message
    assert PASSWORD not in message


POSTGRESQL = 'connection to server at "10.0.0.2", port 5432 failed: '
# Messages of libmariadb 3.4 and libpq 17 for real servers.
TLS_FAULTS = [
    ((2026, "TLS/SSL error: self-signed certificate in certificate chain"), "check DB_SSL_CA"),
    ((2026, "TLS/SSL error: Hostname verification failed"), "another host"),
    ((2026, "TLS/SSL error: unsupported protocol"), "check DB_SSL_MODE"),
    ((2026, "TLS/SSL error: SSL is required, but the server does not support it"), "offers none"),
    ((3159, "Connections using insecure transport are prohibited"), "set DB_SSL_MODE"),
    (("Unknown ssl_mode specification",), "check DB_SSL_MODE"),
]
POSTGRESQL_TLS_FAULTS = [
    ("server does not support SSL, but SSL was required", "offers none"),
    ("SSL error: certificate verify failed", "check DB_SSL_CA"),
    ('root certificate file "/nowhere" does not exist', "check DB_SSL_CA"),
    ('server certificate for "a" does not match host name "b"', "another host"),
    ('private key file "/k.pem" has group or world access', "check DB_SSL_MODE"),
    ("SSL error: sslv3 alert handshake failure", "check DB_SSL_MODE"),
    ("FATAL:  no pg_hba.conf entry for host, no encryption", "set DB_SSL_MODE"),
    ('invalid sslmode value: "requir"', "check DB_SSL_MODE"),
]


@pytest.mark.parametrize(
    ("vendor", "words", "hint"),
    [
        *(("mysql", words, hint) for words, hint in TLS_FAULTS),
        *(("postgresql", (f"{POSTGRESQL}{text}",), hint) for text, hint in POSTGRESQL_TLS_FAULTS),
    ],
)
def test_database_tls_error_fails_without_waiting_and_names_the_option(
    clock: Clock, vendor: str, words: tuple[object, ...], hint: str
) -> None:
    connection = Connection(OperationalError(*words))
    connection.vendor = vendor

    with pytest.raises(DatabaseNotReadyError) as caught:
        wait(connection, 60)

    assert clock.now == 1000
    message = str(caught.value)
    assert "do not agree on TLS" in message and str(words[-1]) in message and hint in message
    assert "Is it running" not in message and "refused user" not in message


def test_user_that_pg_hba_rejects_is_reported_as_refused_and_not_as_tls_error(clock: Clock) -> None:
    words = f'{POSTGRESQL}FATAL:  pg_hba.conf rejects connection for user "web", no encryption'
    connection = Connection(OperationalError(words))
    connection.vendor = "postgresql"

    with pytest.raises(DatabaseNotReadyError, match="refused user 'web'"):
        wait(connection, 60)


@pytest.mark.parametrize(
    "words",
    [
        (2026, "TLS/SSL error: unexpected eof while reading"),
        (2026, "TLS/SSL error: Connection reset by peer"),
        ("SSL SYSCALL error: EOF detected",),
        ("SSL connection has been closed unexpectedly",),
    ],
)
def test_tls_handshake_that_is_cut_off_is_an_outage(words: tuple[object, ...]) -> None:
    assert is_outage(OperationalError(*words))


def test_name_of_a_server_is_no_fault_of_tls() -> None:
    words = "Can't connect to MySQL server on 'certificates:3306' (111)"

    assert is_outage(OperationalError(2003, words))


def test_unknown_option_of_the_mysql_client_is_named(clock: Clock) -> None:
    connection = Connection(TypeError("unexpected keyword argument 'ssl_verify'"))

    with pytest.raises(
        DatabaseNotReadyError,
        match=r"DATABASE_URL has an invalid "
        r"option.*ssl_verify",
    ):
        wait(connection, 60)


def test_unknown_option_of_the_postgresql_client_is_named(clock: Clock) -> None:
    connection = Connection(ProgrammingError('invalid connection option "sslmod"\n'))

    with pytest.raises(DatabaseNotReadyError, match=r"DATABASE_URL has an invalid option.*sslmod"):
        wait(connection, 60)


def test_login_refused_after_a_wait_ends_the_wait(clock: Clock) -> None:
    """A database that starts up refuses no user until it knows its users."""
    with pytest.raises(DatabaseNotReadyError, match="refused user"):
        wait(Connection(UNREACHABLE, REFUSED), 60)

    assert clock.now == 1000.5


def test_sqlite_path_that_cannot_be_opened_fails_without_waiting(
    clock: Clock, tmp_path: Path
) -> None:
    """No server will come up there."""
    path = tmp_path / "missing" / "db.sqlite3"
    wrapper = DatabaseWrapper({**sqlite_settings(path), "OPTIONS": {}})
    connection = Connection(None)
    connection.vendor = "sqlite"
    connection.settings_dict = wrapper.settings_dict
    connection.errors = [error_of_opening(wrapper)]

    with pytest.raises(DatabaseNotReadyError) as caught:
        wait(connection, 60)

    assert clock.now == 1000
    assert f"the SQLite database '{path}' cannot be used" in str(caught.value)
    assert "password" not in str(caught.value)


def error_of_opening(wrapper: DatabaseWrapper) -> DatabaseError:
    """Return what Django raises when it opens this database."""
    with pytest.raises(DatabaseError) as caught, wrapper.wrap_database_errors:
        wrapper.get_new_connection(wrapper.get_connection_params())
    return caught.value
