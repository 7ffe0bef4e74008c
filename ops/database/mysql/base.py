"""The module in which Django looks for a backend's DatabaseWrapper.

https://docs.djangoproject.com/en/5.2/howto/custom-database-backend/
"""

import select
from collections.abc import Callable
from typing import Any

from django.db.backends.mysql import base
from MySQLdb.connections import Connection

from ops.breaker import DATABASE, AwayError
from ops.database.outage import mysql_outage
from ops.database.watched import Watched

# What MySQL's client says when there is no connection through TCP, and of one that was lost.
NO_CONNECTION, LOST, NO_TLS = 2003, 2013, 2026
# Below it are the server's own errors.
FIRST_CLIENT_ERROR = 2000
# Between two checks while a statement runs.
POLL_MILLISECONDS = 100


class WatchedConnection(Connection):
    """Gives up a statement once the database is known to hang.

    Each method that sends one raises what `query` does.
    """

    watch: Callable[[], Callable[[], None]] | None = None

    def query(self, query: bytes | bytearray | str) -> None:
        """Send a statement, and return when its answer begins.

        Raises:
            OperationalError: the database hangs, or another worker has just seen that.
        """
        if self.watch is None:
            super().query(query)
            return
        try:
            if DATABASE.is_open:
                raise AwayError("the database did not answer a moment ago")
            self.send_query(query.encode() if isinstance(query, str) else bytes(query))
            self.wait(self.watch())
        except AwayError as error:
            # Its answer may come later, and would be read as the next statement's.
            self.close()
            raise self.OperationalError(LOST, str(error)) from None
        self.read_query_result()
        DATABASE.close()

    def require_tls(self) -> None:
        """Close a connection without TLS: the client requires it only where it verifies.

        Raises:
            OperationalError: the server offers none.
        """
        super().query("SHOW STATUS LIKE 'Ssl_cipher'")
        ((_, cipher),) = self.store_result().fetch_row()
        if not cipher:
            self.close()
            raise self.OperationalError(
                NO_TLS, "SSL is required, but the server does not support it"
            )

    def wait(self, check: Callable[[], None]) -> None:
        """Return when there is something to read."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        while not poll.poll(POLL_MILLISECONDS):
            check()

    def close(self) -> None:
        """Close it; Django closes one that was given up once more, at which the driver fails."""
        if self.open:
            super().close()

    # The driver's own send these words past `query`.
    def ping(self) -> None:
        """Ask the database for a sign of life."""
        self.query(b"DO 0")

    def commit(self) -> None:
        """Commit the transaction."""
        self.query(b"COMMIT")

    def rollback(self) -> None:
        """Roll the transaction back."""
        self.query(b"ROLLBACK")

    def autocommit(self, enabled: bool) -> None:
        """Begin a transaction with the next statement, or end that."""
        if bool(enabled) != self.get_autocommit():
            self.query(b"SET autocommit = %d" % bool(enabled))


class DatabaseWrapper(Watched, base.DatabaseWrapper):
    """Connects only when no other worker of this server is waiting for a database that is down."""

    def connect_now(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection; with a `read_timeout` its statements are watched."""
        connection = WatchedConnection(**conn_params)
        if conn_params.get("ssl_mode") == "REQUIRED":
            connection.require_tls()
        if limit := conn_params.get("read_timeout"):
            connection.watch = lambda: DATABASE.watch(
                lambda: self.answers(conn_params), seconds=float(limit)
            )
        return connection

    def unavailable_error(self, reason: str) -> Exception:
        """Return what the client says when there is no connection."""
        return self.Database.OperationalError(NO_CONNECTION, reason)

    def is_unavailable(self, error: Exception) -> bool:
        """Return whether a try to connect failed because the database is down or full."""
        return mysql_outage(error)

    def was_answered(self, error: Exception) -> bool:
        """Return whether the database itself has refused a connection."""
        code = error.args[0] if error.args else None
        return isinstance(code, int) and 0 < code < FIRST_CLIENT_ERROR
