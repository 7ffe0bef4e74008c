"""A connection whose statements meet locks, for tests/unit/test_lock_waits.py."""

from contextlib import nullcontext
from typing import Any

from django.db import OperationalError, ProgrammingError

from ops.database.lock_waits import SERVERS, Holders, LockWaits

SECONDS = 10
# https://dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html
# https://www.postgresql.org/docs/17/errcodes-appendix.html
CODES = {
    ("mysql", "timeout"): 1205,
    ("mysql", "deadlock"): 1213,
    ("postgresql", "timeout"): "55P03",
    ("postgresql", "deadlock"): "40P01",
}
ROWS = [
    ("shop_order", 7, "site", "10.0.0.5", "Sleep", 42),
    ("shop_order", 9, "report", "10.0.0.6", "Query", 3),
]


class DriverError(Exception):
    """The error of the driver, with the code of the server."""

    def __init__(self, code: object) -> None:
        """Store the code as the PostgreSQL driver does."""
        super().__init__(code)
        self.sqlstate = code


def blocked(vendor: str, kind: str = "timeout") -> OperationalError:
    """Return Django's error of a lock timeout or a deadlock."""
    code = CODES[vendor, kind]
    if vendor == "mysql":
        return OperationalError(code, "Lock wait timeout exceeded")
    error = OperationalError("canceling statement due to lock timeout")
    error.__cause__ = DriverError(code)
    return error


class Connection:
    """A connection that records statements; it is its own cursor."""

    alias = "default"

    def __init__(self, vendor: str) -> None:
        """Begin outside a transaction."""
        self.vendor = vendor
        self.in_atomic_block = False
        self.executed: list[object] = []
        self.rows: list[list[tuple[Any, ...]]] = []
        self.wrappers: list[object] = []
        self.connection = self

    def copy(self) -> "Connection":
        """Return itself: the watcher of the locks shares the rows."""
        return self

    def close(self) -> None:
        """End."""

    def cursor(self) -> Any:
        """Return a cursor."""
        return nullcontext(self)

    def execute(self, sql: str, parameters: object = None) -> None:
        """Record the statement."""
        self.executed.append(sql if parameters is None else (sql, parameters))

    def fetchone(self) -> tuple[int, bool]:
        """Return the session id, and that a timeout rolls back only its statement."""
        return (5, False)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the lock holders; after the last rows, raise a permission error."""
        if self.rows:
            return self.rows.pop(0)
        raise ProgrammingError("permission denied")

    def execute_wrapper(self, wrapper: object) -> Any:
        """Record the wrapper."""
        self.wrappers.append(wrapper)
        return nullcontext()


class Work:
    """A statement that fails with these errors, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        """Set the errors, in order."""
        self.errors = list(errors)
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *arguments: Any) -> str:
        """Run once."""
        self.calls.append(arguments)
        if self.errors:
            raise self.errors.pop(0)
        return "result"


class Case:
    """The lock waits of a migration on a server, and their messages."""

    def __init__(self, vendor: str) -> None:
        """Begin."""
        self.vendor, self.connection = vendor, Connection(vendor)
        connection: Any = self.connection
        self.said: list[str] = []
        self.holders = Holders(connection, SERVERS[vendor])
        self.waits = LockWaits(connection, self.holders, SECONDS, self.said.append)

    def execute(self, work: Work, sql: str = "UPDATE thing", *, many: bool = False) -> object:
        """Run a statement as Django does."""
        return self.waits.execute(work, sql, ("p",), many, {"more": 1})

    def begin_transaction(self, *, whole: bool) -> None:
        """Begin a transaction, which is retried as a whole or not."""
        self.connection.in_atomic_block, self.waits.whole = True, whole
