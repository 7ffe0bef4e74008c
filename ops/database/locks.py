"""A lock across processes and machines, held in the database that they share."""

import fcntl
import hashlib  # remove_mysql
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from django.db.backends.base.base import BaseDatabaseWrapper

from ops.database.outage import DatabaseNotReadyError, where

POLL_SECONDS = 0.5


@contextmanager
def exclusive_lock(
    connection: BaseDatabaseWrapper, name: str, seconds: float, say: Callable[[str], object]
) -> Iterator[None]:
    """Hold the lock `name`, which one holder has at a time, while the block runs.

    The lock belongs to a connection of its own, apart from the one that the work uses and may
    reconnect; so it is freed however its holder ends.

    Args:
        connection: says which database; its copy holds the lock.
        name: the lock's name, within this database.
        seconds: how long to wait for the present holder.
        say: called with a line for the person who watches.

    Raises:
        DatabaseNotReadyError: the lock was not free in time.
    """
    attempt = ATTEMPTS[connection.vendor]
    deadline = time.monotonic() + seconds
    announced = False
    with ExitStack() as stack:
        own = connection.copy()
        stack.callback(own.close)
        while not attempt(own, name, stack):
            if time.monotonic() >= deadline:
                raise DatabaseNotReadyError(
                    f"another process has held the lock {name!r} of the {where(connection)} for "
                    f"more than {seconds:g} s. Look there for a statement that hangs."
                )
            if not announced:
                say(f"another process holds the lock {name!r}; waiting up to {seconds:g} s")
                announced = True
            time.sleep(POLL_SECONDS)
        yield


# remove_mysql: begin
def attempt_mysql(connection: BaseDatabaseWrapper, name: str, stack: ExitStack) -> bool:
    """Try MySQL's named lock, which ends with its connection.

    The name is the server's, not the database's, and at most 64 characters long.
    https://dev.mysql.com/doc/refman/9.7/en/locking-functions.html#function_get-lock
    """
    scoped = hashlib.sha256(f"{connection.settings_dict['NAME']}/{name}".encode()).hexdigest()
    with connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, 0)", [scoped])
        return cursor.fetchone()[0] == 1


# remove_mysql: end
# remove_postgres: begin
def attempt_postgresql(connection: BaseDatabaseWrapper, name: str, stack: ExitStack) -> bool:
    """Try PostgreSQL's advisory lock, which ends with its connection.

    https://www.postgresql.org/docs/17/explicit-locking.html#ADVISORY-LOCKS
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [name])
        return bool(cursor.fetchone()[0])


# remove_postgres: end
def attempt_sqlite(connection: BaseDatabaseWrapper, name: str, stack: ExitStack) -> bool:
    """Try a lock on a file next to the database; the stack closes the file, which frees it."""
    if connection.is_in_memory_db():  # no other process can see it
        return True
    file = Path(f"{connection.settings_dict['NAME']}.{name}.lock").open("w")  # noqa: SIM115
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stack.enter_context(file)
        return True
    file.close()
    return False


ATTEMPTS = {
    "mysql": attempt_mysql,  # remove_mysql
    "postgresql": attempt_postgresql,  # remove_postgres
    "sqlite": attempt_sqlite,
}
