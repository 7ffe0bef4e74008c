"""The module in which Django looks for a backend's DatabaseWrapper.

https://docs.djangoproject.com/en/5.2/howto/custom-database-backend/
"""

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

        Raises:
            OperationalError: the driver's, which Django makes its own.
        """
        error = self.Database.OperationalError
        if not turns.take():
            raise error("the database did not answer another worker's try just now")
        away = False
        try:
            return super().get_new_connection(conn_params)
        except error as reason:
            away = postgresql_outage(reason)
            raise
        finally:
            turns.give_back(away=away)
