"""Short waits for locks while migrating, each tried again.

A change of a table that waits for its lock holds up every later reader of that table, and with
them all workers. So each wait is short, and readers are served in the pauses between.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from django.db import Error as DatabaseError
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.signals import connection_created
from django.db.migrations import Migration
from django.db.migrations.operations.base import Operation
from django.db.models.signals import pre_migrate
from django.db.transaction import atomic

from ops.database.outage import DatabaseNotReadyError

# Below HAProxy's `timeout queue`: requests that queue behind a wait are served, only later.
TRY_SECONDS = 1
PAUSE_SECONDS = 2.0
POLL_SECONDS = 0.3

Say = Callable[[str], object]
Work = Callable[[], Any]


@dataclass(frozen=True)
class LockStatements:
    """What differs between the database servers."""

    limit: str
    # The session's number, and whether a lock timeout undoes more than its statement.
    session: str
    # Each holder of what a session waits for: lock, session, user, host, state, seconds.
    holders: str
    end: str
    timeout: object
    deadlock: object
    # Whether a change of a table commits, whatever transaction it is in.
    commits_changes: bool


SERVERS = {
    # remove_mysql: begin
    # https://dev.mysql.com/doc/refman/9.7/en/metadata-locking.html
    "mysql": LockStatements(
        limit=(
            f"SET SESSION lock_wait_timeout = {TRY_SECONDS}, "
            f"SESSION innodb_lock_wait_timeout = {TRY_SECONDS}"
        ),
        session="SELECT CONNECTION_ID(), @@innodb_rollback_on_timeout",
        holders="""
            SELECT wanted.name, held.PROCESSLIST_ID, held.PROCESSLIST_USER, held.PROCESSLIST_HOST,
                held.PROCESSLIST_COMMAND, held.PROCESSLIST_TIME
            FROM performance_schema.threads me
            JOIN (
                SELECT a.OWNER_THREAD_ID waits, b.OWNER_THREAD_ID holds, a.OBJECT_NAME name
                FROM performance_schema.metadata_locks a
                JOIN performance_schema.metadata_locks b
                    USING (OBJECT_TYPE, OBJECT_SCHEMA, OBJECT_NAME)
                WHERE a.LOCK_STATUS = 'PENDING' AND b.LOCK_STATUS = 'GRANTED'
                UNION SELECT REQUESTING_THREAD_ID, BLOCKING_THREAD_ID, 'a row'
                FROM performance_schema.data_lock_waits
            ) wanted ON wanted.waits = me.THREAD_ID AND wanted.holds <> me.THREAD_ID
            JOIN performance_schema.threads held ON held.THREAD_ID = wanted.holds
            WHERE me.PROCESSLIST_ID = %s ORDER BY held.PROCESSLIST_TIME DESC
        """,
        end="KILL {}",
        timeout=1205,
        deadlock=1213,
        commits_changes=True,
    ),
    # remove_mysql: end
    # remove_postgres: begin
    # https://www.postgresql.org/docs/17/runtime-config-client.html#GUC-LOCK-TIMEOUT
    "postgresql": LockStatements(
        limit=f"SET lock_timeout = '{TRY_SECONDS}s'",
        session="SELECT pg_backend_pid(), false",
        holders="""
            SELECT (
                SELECT coalesce(min(relation::regclass::text), 'a row') FROM pg_locks
                WHERE pid = me.pid AND NOT granted
            ), held.pid, held.usename, coalesce(host(held.client_addr), 'localhost'), held.state,
                extract(epoch FROM now() - held.xact_start)::int
            FROM (SELECT %s::int AS pid) me
            JOIN pg_stat_activity held ON held.pid = ANY(pg_blocking_pids(me.pid))
            ORDER BY held.xact_start
        """,
        end="SELECT pg_terminate_backend({})",
        timeout="55P03",
        deadlock="40P01",
        commits_changes=False,
    ),
    # remove_postgres: end
}
CHANGE = re.compile(r"\s*(ALTER|CREATE|DROP|RENAME|TRUNCATE)\b", re.IGNORECASE)


class LockNotFreeError(DatabaseNotReadyError):
    """Another transaction kept a lock for too long."""


class Holders(threading.Thread):
    """Watches, on a connection of its own, who holds what a session waits for."""

    def __init__(self, connection: BaseDatabaseWrapper, server: LockStatements) -> None:
        """Describe it; a `with` block starts and ends it."""
        super().__init__(daemon=True)
        self.copy, self.server = connection.copy, server
        self.over = threading.Event()
        self.session = 0
        # The last ones seen.
        self.sessions: list[int] = []
        self.words = "a table or a row"

    def run(self) -> None:
        """Keep what was seen last."""
        with closing(self.copy()) as own:
            while not self.over.wait(POLL_SECONDS):
                try:
                    with own.cursor() as cursor:
                        cursor.execute(self.server.holders, [self.session])
                        self.keep(cursor.fetchall()[:3])
                except DatabaseError as error:
                    self.words += (
                        f" (its holder is unknown: {error}; docs/migrations.md#locks has the "
                        "GRANT for a database of an earlier version)"
                    )
                    return

    def keep(self, rows: list[tuple[Any, ...]]) -> None:
        """Describe the holders, if there are any."""
        if rows:
            self.words = f"{rows[0][0]}, held by " + ", ".join(
                f"session {number} of {user}@{host} ({state} for {seconds} s)"
                for _, number, user, host, state, seconds in rows
            )
            self.sessions = [row[1] for row in rows]

    def remedy(self) -> str:
        """Return how to end them."""
        ends = "; ".join(self.server.end.format(number) for number in self.sessions)
        return f"End that transaction (SQL: {ends})" if ends else "End that transaction"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


class LockWaits:
    """Repeats the work that a lock has blocked.

    What can be undone as a whole is repeated as a whole, so that its own locks are free meanwhile:
    a migration, or an operation in a transaction where changes of tables commit. Else the statement
    is.
    """

    def __init__(
        self, connection: BaseDatabaseWrapper, holders: Holders, seconds: float, say: Say
    ) -> None:
        """Keep what short_lock_waits() was called with."""
        self.connection, self.holders, self.server = connection, holders, holders.server
        self.seconds, self.say = seconds, say
        self.plan: object = None
        # Whether what runs now is undone, and repeated, as a whole.
        self.whole = True
        self.timeout_undoes_all = False
        self.announced: list[int] | None = None

    def limit(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        """Limit each wait of the connection that migrates, as soon as it is open."""
        if connection is connections[self.connection.alias]:
            with connection.cursor() as cursor:
                cursor.execute(self.server.limit)
                cursor.execute(self.server.session)
                self.holders.session, self.timeout_undoes_all = cursor.fetchone()

    def prepare(self, plan: list[tuple[Migration, bool]], using: str, **_: Any) -> None:
        """Have the migrations that are about to run come through apply() below."""
        # The signal comes once for each app.
        if using == self.connection.alias and plan is not self.plan:
            self.plan = plan
            for migration, _backwards in plan:
                vars(migration)["apply"] = partial(self.apply, migration, migration.apply)

    def apply(
        self,
        migration: Migration,
        original: Callable[..., Any],
        state: Any,
        editor: BaseDatabaseSchemaEditor,
        *arguments: Any,
    ) -> Any:
        """Apply a migration; of one without a transaction, operation by operation."""
        if editor.atomic_migration:
            return original(state, editor, *arguments)
        migration.operations = [
            # As Django decides whether an operation has a transaction of its own.
            self.repeated(operation)
            if operation.atomic or (migration.atomic and operation.atomic is not False)
            else operation
            for operation in migration.operations
        ]
        self.whole = False
        result = original(state, editor, *arguments)
        self.whole = True
        return result

    def repeated(self, operation: Operation) -> Operation:
        """Return an operation that repeats the whole of its own transaction."""
        forwards = operation.database_forwards

        def once(*arguments: Any) -> None:
            self.whole = True
            with atomic(self.connection.alias):
                forwards(*arguments)

        def until_done(*arguments: Any) -> None:
            self.retry_whole(partial(once, *arguments))
            self.whole = False

        own = copy(operation)
        vars(own).update(atomic=False, database_forwards=until_done)
        return own

    def execute(self, run: Callable[..., Any], sql: Any, params: Any, many: bool, more: Any) -> Any:
        """Run a statement, and repeat it unless its migration or operation is repeated.

        Args:
            run: executes it: `run(sql, params, many, more)`.
            sql: the statement.
            params: its parameters; with `many`, a sequence of them for each execution.
            many: whether it is executed for several rows.
            more: what Django's execute wrappers pass on.

        Raises:
            LockNotFreeError: as `retry`.
            OperationalError: the database refused it, also for a lock that `retry_whole` waits for.
        """
        statement = partial(run, sql, params, many, more)
        if not self.connection.in_atomic_block:
            if not self.server.commits_changes and "CONCURRENTLY" in str(sql).upper():
                return self.without_limit(statement)
            # Of many rows some may be written already.
            return statement() if many else self.retry(statement, lambda _: True)
        if self.server.commits_changes and CHANGE.match(str(sql)):
            self.whole = False
        if self.whole or many:
            return statement()
        if self.server.commits_changes:
            return self.retry(
                statement,
                lambda code: code == self.server.timeout and not self.timeout_undoes_all,
            )
        return self.retry(partial(self.in_savepoint, statement), lambda _: True)

    def without_limit(self, statement: Work) -> Any:
        """Run a statement without the time limit: it blocks no reader.

        A limit would leave a broken index behind.
        """
        self.past_django("SET lock_timeout = 0")
        try:
            return statement()
        finally:
            self.past_django(self.server.limit)

    def in_savepoint(self, statement: Work) -> Any:
        """Run a statement that leaves its transaction whole when it fails.

        Raises:
            OperationalError: the statement failed; the savepoint has undone it.
        """
        self.past_django("SAVEPOINT lock_waits")
        try:
            result = statement()
        except OperationalError:
            self.past_django("ROLLBACK TO SAVEPOINT lock_waits")
            raise
        self.past_django("RELEASE SAVEPOINT lock_waits")
        return result

    def past_django(self, sql: str) -> None:
        """Run a statement that does not come through execute()."""
        with self.connection.connection.cursor() as cursor:
            cursor.execute(sql)

    def retry_whole(self, work: Work) -> None:
        """Repeat what a lock timeout has undone as a whole.

        Raises:
            LockNotFreeError: as `retry`.
        """
        self.retry(work, lambda _: self.whole)

    def retry(self, work: Work, may_repeat: Callable[[object], bool]) -> Any:
        """Repeat the work until no lock blocks it.

        Args:
            work: what is repeated.
            may_repeat: called with the database's error code; false if the work cannot be repeated.

        Raises:
            LockNotFreeError: a lock was not free in time, or the work cannot be repeated.
            OperationalError: another fault of the database.
        """
        deadline = None
        while True:
            try:
                return work()
            except OperationalError as error:
                code = getattr(error.__cause__, "sqlstate", None) or error.args[0]
                if code not in (self.server.timeout, self.server.deadlock):
                    raise
                if not may_repeat(code):
                    raise LockNotFreeError(
                        f"a lock blocked it: {self.holders.words}. It cannot be retried safely. "
                        f"{self.holders.remedy()}, and migrate again."
                    ) from None
            now = time.monotonic()
            deadline = now + self.seconds if deadline is None else deadline
            if now + PAUSE_SECONDS >= deadline:
                raise LockNotFreeError(
                    f"no lock within {self.seconds:g} s on {self.holders.words}. "
                    f"{self.holders.remedy()}, and migrate again; or raise "
                    "DB_LOCK_WAIT_SECONDS."
                )
            self.announce()
            time.sleep(PAUSE_SECONDS)

    def announce(self) -> None:
        """Say who is waited for, once for each."""
        if self.announced != self.holders.sessions:
            self.announced = self.holders.sessions
            self.say(
                f"waiting for a lock on {self.holders.words}: trying for up to {self.seconds:g} s"
            )


@contextmanager
def short_lock_waits(
    connection: BaseDatabaseWrapper, seconds: float, say: Say
) -> Iterator[Callable[[Work], object]]:
    """Yield a function that migrates, given how, with short waits for locks.

    Args:
        connection: the one that migrates.
        seconds: to try for one lock.
        say: called with a line for the person who watches.

    Raises:
        LockNotFreeError: a lock was not free in time.
    """
    server = SERVERS.get(connection.vendor)
    if server is None:  # SQLite's readers never wait for a writer
        yield lambda work: work()
        return
    with Holders(connection, server) as holders:
        waits = LockWaits(connection, holders, seconds, say)
        waits.limit(connections[connection.alias])
        connection_created.connect(waits.limit)
        pre_migrate.connect(waits.prepare)
        try:
            with connection.execute_wrapper(waits.execute):
                yield waits.retry_whole
        finally:
            connection_created.disconnect(waits.limit)
            pre_migrate.disconnect(waits.prepare)
