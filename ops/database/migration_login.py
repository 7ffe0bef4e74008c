"""The database user that migrates: it changes tables, and the application's user only rows."""

from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from ops import environment
from ops.database.outage import DatabaseNotReadyError, wait_for_database


def wait_as_migration_user(
    connection: BaseDatabaseWrapper, seconds: float, say: Callable[[str], object]
) -> None:
    """Return once the database answers, to both of its users; from then on the second one migrates.

    The database of a stack that was started by an earlier release has no migration user until it
    starts again: there, the application's user still has all rights.

    Args:
        connection: the connection that migrates.
        seconds: how long to wait for the database.
        say: called with a line for the person who watches.

    Raises:
        DatabaseNotReadyError: it refused a user, or did not answer in time.
    """
    # A wrong DB_PASSWORD is better named now than by the servers.
    wait_for_database(connection, seconds, say)
    login = environment.migration_login(environment.load())
    if not login:
        return
    settings = connection.settings_dict
    former = {name: settings[name] for name in login}
    connection.close()
    settings.update(login)
    try:
        wait_for_database(connection, seconds, say)
    except DatabaseNotReadyError as error:
        if login["USER"] != environment.MIGRATION_USER or not error.refused:
            raise
        settings.update(former)
        say(
            f"migrating as {former['USER']}: the database has no user {login['USER']} yet. "
            "Recreate it after the deploy: docker compose up --detach --wait --no-deps db"
        )
