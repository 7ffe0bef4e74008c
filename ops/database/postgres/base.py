"""The module in which Django looks for a backend's DatabaseWrapper.

https://docs.djangoproject.com/en/5.2/howto/custom-database-backend/
"""

from collections.abc import Callable, Generator
from typing import Any

from django.db.backends.postgresql import base

from ops.breaker import DATABASE, AwayError
from ops.database.outage import postgresql_outage
from ops.database.watched import Watched

Steps = Generator[Any, Any, Any]


class DatabaseWrapper(Watched, base.DatabaseWrapper):
    """Connects only when no other worker of this server is waiting for a database that is down."""

    def connect_now(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection; with a `read_timeout` its statements are watched.

        As MySQL's client calls it; PostgreSQL's has no such limit.
        """
        own = {name: value for name, value in conn_params.items() if name != "read_timeout"}
        connection = super().connect_now(own)
        if limit := conn_params.get("read_timeout"):
            connection.wait = watched(
                connection,
                self.Database.OperationalError,
                lambda: DATABASE.watch(lambda: self.answers(own), seconds=float(limit)),
            )
        return connection

    def unavailable_error(self, reason: str) -> Exception:
        """Return the driver's error without a code: no server has answered."""
        return self.Database.OperationalError(reason)

    def is_unavailable(self, error: Exception) -> bool:
        """Return whether a try to connect failed because the database is down or full."""
        return postgresql_outage(error)

    def was_answered(self, error: Exception) -> bool:
        """Return whether the database itself has refused a connection."""
        return "FATAL:" in str(error)


def watched(
    connection: Any, error: type[Exception], watch: Callable[[], Callable[[], None]]
) -> Callable[..., object]:
    """Return the connection's way of waiting for the server, with an end to it.

    A server that hangs ends no statement, however long it may take, and keeps its connections.
    https://www.psycopg.org/psycopg3/docs/api/connections.html
    """
    wait = connection.wait

    def watching(steps: Steps, *args: Any, timeout: float | None = None, **options: Any) -> object:
        if timeout is not None:
            return wait(steps, *args, timeout=timeout, **options)
        try:
            if DATABASE.is_open:
                raise AwayError("the database did not answer a moment ago")
            result = wait(with_checks(steps, watch()), *args, **options)
        except AwayError as reason:
            connection.close()
            raise error(str(reason)) from None
        DATABASE.close()
        return result

    return watching


def with_checks(steps: Steps, check: Callable[[], None]) -> Steps:
    """Yield the steps of a statement, and call `check` whenever none is ready in time."""
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready:
                check()
            wanted = steps.send(ready)
    except StopIteration as end:
        return end.value
