"""The database from outside: is it away, and waiting until it is back."""

import time
from collections.abc import Callable

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from ops import tls

# remove_mysql: begin
# MySQL's and its client's error numbers: the server is down, does not answer, or is full.
# https://dev.mysql.com/doc/mysql-errors/9.7/en/client-error-reference.html
# https://dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html
MYSQL_OUTAGE = {
    0,  # the connection is closed already
    1040,  # too many connections
    1053,  # server shutdown in progress
    1205,  # lock wait timeout
    2002,  # no connection through the socket
    2003,  # no connection through TCP
    2005,  # unknown host: the container was removed, or does not exist yet
    2006,  # server has gone away
    2012,  # the handshake went wrong
    2013,  # connection lost during a query
    2027,  # a malformed packet: cut off in the middle
    2055,  # connection lost, with the system's reason
    2026,  # the handshake was cut off
}
# remove_mysql: end
# remove_postgres: begin
# What PostgreSQL says of the same; the first two characters are a class.
# https://www.postgresql.org/docs/17/errcodes-appendix.html
POSTGRESQL_OUTAGE = (
    "08",  # the connection
    "53",  # no room: too many connections, the disk or the memory is full
    "55P03",  # lock timeout
    "57P",  # it stops, has crashed, starts, or the database was dropped
    "58",  # input or output error
)
# What a running server answers to a refused login: then there is no code, and no
# waiting fixes it.
POSTGRESQL_REFUSAL = (
    "authentication failed",
    "does not exist",
    "no password supplied",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "permission denied for database",
    "is not permitted to log in",
)
# remove_postgres: end
# remove_mysql: begin
MYSQL_TLS = {
    2026,  # from the client, with its words
    3159,  # the server accepts only TLS
}
# remove_mysql: end
# SQLite's file is in use, or its disk fails; the low byte of https://www.sqlite.org/rescode.html
SQLITE_OUTAGE = {
    5,  # busy: another connection writes
    6,  # locked
    10,  # input or output error
    13,  # the disk is full
    15,  # the locks are being set up by another process
}


TLS_VARIABLES = ("DB_SSL_MODE", "DB_SSL_CA")
KINDS = {
    "mysql": "MySQL",  # remove_mysql
    "postgresql": "PostgreSQL",  # remove_postgres
    "sqlite": "SQLite",
}


class DatabaseNotReadyError(Exception):
    """The database cannot be used; the message says why and what to do."""

    # Whether it answered, and refused the user.
    refused = False


def is_outage(error: DatabaseError) -> bool:
    """Return whether `error` means that the database is down, rather than an invalid query."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    # remove_mysql: begin
    code = error.args[0] if error.args else None
    if isinstance(code, int):
        return mysql_outage(error)
    # remove_mysql: end
    # SQLite also calls a misspelt query operational; its own exception, the cause, has the number.
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    if isinstance(code, int):
        return code & 0xFF in SQLITE_OUTAGE
    return postgresql_outage(error.__cause__ or error)


def outage_behind(error: BaseException | None) -> DatabaseError | None:
    """Return the outage that an error was raised for, or None.

    Django's sessions say of one in the middle of a request that the user has signed out.
    """
    seen: list[BaseException] = []
    # `raise error from error` makes a circle.
    while error is not None and error not in seen:
        if isinstance(error, DatabaseError) and is_outage(error):
            return error
        seen.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


# remove_mysql: begin
def mysql_outage(error: BaseException) -> bool:
    """Return whether the driver's operational error means that MySQL is down."""
    return error.args[0] in MYSQL_OUTAGE and not is_tls_fault(error)


# remove_mysql: end
# remove_postgres: begin
def postgresql_outage(error: BaseException) -> bool:
    """Return whether the driver's operational error means that PostgreSQL is down."""
    code = getattr(error, "sqlstate", None)
    if code:
        return str(code).startswith(POSTGRESQL_OUTAGE)
    if is_tls_fault(error):
        return False
    return not any(phrase in str(error) for phrase in POSTGRESQL_REFUSAL)


# remove_postgres: end
def is_tls_fault(error: BaseException) -> bool:
    """Return whether server and client did not agree on TLS, when the connection was opened."""
    # remove_mysql: begin
    code = error.args[0] if error.args else None
    if isinstance(code, int) and code not in MYSQL_TLS:
        return False
    # remove_mysql: end
    return tls.is_fault(error)


def where(connection: BaseDatabaseWrapper) -> str:
    """Name the database for a person: its kind, host and name, never its password."""
    # Not connection.display_name, which may query the server, and that may be down.
    kind = KINDS[connection.vendor]
    target = connection.settings_dict
    place = f" at {target['HOST']}:{target['PORT'] or 'default port'}" if target["HOST"] else ""
    return f"{kind} database {str(target['NAME'])!r}{place}"


def wait_for_database(
    connection: BaseDatabaseWrapper, seconds: float, say: Callable[[str], object]
) -> None:
    """Return once the database answers.

    Args:
        connection: the connection to try.
        seconds: how long to wait before giving up.
        say: called with a line for the person who watches.

    Raises:
        DatabaseNotReadyError: it refused us, which waiting does not hint, or the time is over.
    """
    deadline = time.monotonic() + seconds
    announced = False
    while True:
        try:
            connection.ensure_connection()
            return
        except TypeError as error:
            # The client does not know an option.
            raise DatabaseNotReadyError(
                f"DATABASE_URL has an invalid option after its ?: {error}"
            ) from None
        except DatabaseError as error:
            if not is_outage(error):
                reason = DatabaseNotReadyError(refusal(connection, error))
                reason.refused = not tls.is_fault(error)
                raise reason from None
            if not announced:
                say(f"waiting up to {seconds:g} s for the {where(connection)}")
                announced = True
            if time.monotonic() >= deadline:
                raise DatabaseNotReadyError(
                    f"{where(connection)} did not answer within {seconds:g} s: {error}. Is it "
                    "running? DB_WAIT_SECONDS sets how long to wait."
                ) from None
        time.sleep(0.5)


def refusal(connection: BaseDatabaseWrapper, error: DatabaseError) -> str:
    """Say what is wrong when the database answered with a refusal, and what to do."""
    if connection.vendor == "sqlite":
        return (
            f"the {where(connection)} cannot be used: {error}. Does its folder exist, and may this "
            "user write there? DATABASE_URL, or DB_NAME, has its path."
        )
    if "invalid connection option" in str(error):
        return f"DATABASE_URL has an invalid option after its ?: {error}".strip()
    if is_tls_fault(error):
        return (
            f"the {where(connection)} and its client do not agree on TLS: {error}. "
            f"{tls.reason(error, *TLS_VARIABLES)} (docs/databases.md)."
        )
    return (
        f"the {where(connection)} refused user {connection.settings_dict['USER']!r}: {error}. "
        "Check the user, the password and the database's name (DATABASE_URL, or DB_USER, "
        "DB_PASSWORD and DB_NAME). A database volume keeps the password of its first start."
    )
