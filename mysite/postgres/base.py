"""The module in which Django looks for a backend's DatabaseWrapper.

https://docs.djangoproject.com/en/5.2/howto/custom-database-backend/
"""

from collections.abc import Callable
from typing import Any

from django.db.backends.postgresql import base

from api.database import postgresql_outage
from mysite.turns import Turns

# Made before uWSGI forks its workers, so that they share it.
turns = Turns()


class DatabaseWrapper(base.DatabaseWrapper):
    """Connects only when no other worker of this server is waiting for a database that is away."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection, or say at once that the database is away.

        Its statements end after OPTIONS["read_timeout"] seconds without an answer.

        Raises:
            OperationalError: the driver's, which Django makes its own.
        """
        error = self.Database.OperationalError
        # As MySQL's client calls it; PostgreSQL's knows no such limit.
        limit = conn_params.pop("read_timeout", None)
        if not turns.take():
            raise error("the database did not answer another worker's try just now")
        away = False
        try:
            connection = super().get_new_connection(conn_params)
        except error as reason:
            away = postgresql_outage(reason)
            raise
        finally:
            turns.give_back(away=away)
        if limit:
            connection.wait = answered_within(float(limit), connection, error)
        return connection


def answered_within(
    seconds: float, connection: Any, error: type[Exception]
) -> Callable[..., object]:
    """Return the connection's way of waiting for the server, with an end to it.

    A server that hangs ends no statement, however long it may take, and keeps its connections.
    https://www.psycopg.org/psycopg3/docs/api/connections.html
    """
    wait = connection.wait

    def limited(steps: Any, *args: Any, timeout: float | None = None, **options: Any) -> object:
        try:
            return wait(steps, *args, timeout=seconds if timeout is None else timeout, **options)
        except error as reason:
            # The server's own errors have a code; here the statement still runs.
            if timeout is None and not getattr(reason, "sqlstate", None) and not connection.closed:
                connection.close()
                raise error(f"the database has not answered for {seconds:g} s") from None
            raise

    return limited
