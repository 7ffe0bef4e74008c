"""A connection to a database that may hang: requests do not wait for one that is known to."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ops.breaker import CHECK_SECONDS, CONNECT_SECONDS, DATABASE, within

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Base
else:
    Base = object


class Watched(ABC, Base):
    """Connects only when no other worker of this server waits for a database that is down."""

    def connect_now(self, conn_params: dict[str, Any]) -> Any:
        """Return a new connection of the driver's."""
        return super().get_new_connection(conn_params)

    @abstractmethod
    def unavailable_error(self, reason: str) -> Exception:
        """Return the driver's error that says so."""

    @abstractmethod
    def is_unavailable(self, error: Exception) -> bool:
        """Return whether a try to connect failed because the database is down or full."""

    @abstractmethod
    def was_answered(self, error: Exception) -> bool:
        """Return whether the database itself has refused a connection."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection, or say at once that the database is down.

        Raises:
            OperationalError: the driver's, which Django makes its own.
        """
        if not DATABASE.take():
            raise self.unavailable_error("the database did not answer another worker a moment ago")
        away = False
        try:
            return within(CONNECT_SECONDS, lambda: self.connect_now(conn_params), close)
        except TimeoutError:
            away = True
            reason = f"the database did not answer within {CONNECT_SECONDS:g} s"
            raise self.unavailable_error(reason) from None
        except self.Database.Error as error:
            # One that refuses is up: the connections that it has already are good.
            away = self.is_unavailable(error) and not self.was_answered(error)
            raise
        finally:
            DATABASE.give_back(away=away)

    def answers(self, conn_params: dict[str, Any]) -> bool:
        """Return whether the database answers a new connection, be it with a refusal."""
        try:
            close(within(CHECK_SECONDS, lambda: self.connect_now(conn_params), close))
        except TimeoutError:
            return False
        except self.Database.Error as error:
            return self.was_answered(error)
        return True

    def is_usable(self) -> bool:
        """Ask the database, unless it is known to be away."""
        return not DATABASE.is_open and super().is_usable()


def close(connection: Any) -> None:
    """Close a connection that came too late."""
    connection.close()
