"""Short lock waits while migrating, with a fake connection.

tests/stack/test_migrations.py uses real servers and real locks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError
from django.db.backends.signals import connection_created
from django.db.migrations import Migration
from django.db.migrations.operations import RunSQL
from django.db.models.signals import pre_migrate

from ops.database import lock_waits
from ops.database.lock_waits import (
    PAUSE_SECONDS,
    SERVERS,
    LockNotFreeError,
    short_lock_waits,
)
from tests.unit.locked import ROWS, SECONDS, Case, Connection, Work, blocked


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Set a clock that only sleeping moves."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    clock.sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(lock_waits, "time", clock)
    return clock


@pytest.fixture(params=["mysql", "postgresql"])
def case(request: pytest.FixtureRequest) -> Case:
    """Return a case on each server."""
    return Case(request.param)


@pytest.mark.parametrize("kind", ["timeout", "deadlock"])
def test_blocked_migration_statement_is_retried_after_pauses(
    case: Case, clock: Any, kind: str
) -> None:
    work = Work(*(blocked(case.vendor, kind) for _ in range(3)))

    assert case.execute(work) == "result"

    assert work.calls == [("UPDATE thing", ("p",), False, {"more": 1})] * 4
    assert clock.now == 1000 + 3 * PAUSE_SECONDS


def test_blocked_migration_statement_times_out_and_names_the_lock_holders(
    case: Case, clock: Any
) -> None:
    case.holders.keep(ROWS)
    work = Work(*(blocked(case.vendor) for _ in range(99)))

    with pytest.raises(LockNotFreeError) as caught:
        case.execute(work)

    assert len(work.calls) == 5
    assert clock.now == 1000 + 4 * PAUSE_SECONDS
    end = {"mysql": "KILL {}", "postgresql": "SELECT pg_terminate_backend({})"}[case.vendor]
    message = str(caught.value)
    for part in (
        "no lock within 10 s on shop_order, held by session 7 of site@10.0.0.5 (Sleep for 42 s), "
        "session 9 of report@10.0.0.6 (Query for 3 s). ",
        f"End that transaction (SQL: {end.format(7)}; {end.format(9)}), and migrate again",
        "DB_LOCK_WAIT_SECONDS",
    ):
        assert part in message


def test_lock_timeout_without_a_known_holder_names_the_next_step(case: Case) -> None:
    work = Work(*(blocked(case.vendor) for _ in range(99)))

    with pytest.raises(LockNotFreeError, match=r"on a table or a row\. End that transaction, and"):
        case.execute(work)


def test_error_that_is_no_lock_timeout_is_not_retried(case: Case) -> None:
    for error in (OperationalError(1054, "Unknown column"), ProgrammingError("syntax")):
        work = Work(error)
        with pytest.raises(type(error)) as caught:
            case.execute(work)
        assert caught.value is error
        assert len(work.calls) == 1


def test_executemany_is_not_retried(case: Case) -> None:
    """Some rows may be written already."""
    for whole in (True, False):
        work = Work(blocked(case.vendor))
        case.waits.whole = whole
        with pytest.raises(OperationalError):
            case.execute(work, many=True)
        assert len(work.calls) == 1
        case.connection.in_atomic_block = True


def test_each_lock_holder_is_announced_once(case: Case) -> None:
    def see(rows: list[tuple[Any, ...]], error: Exception) -> Any:
        case.holders.keep(rows)
        raise error

    steps = [ROWS[:1], ROWS[:1], [], ROWS[1:]]
    work: Callable[..., Any] = lambda *_: (  # noqa: E731
        see(steps.pop(0), blocked(case.vendor)) if steps else None
    )
    case.waits.execute(work, "UPDATE thing", (), False, {})

    assert case.said == [
        "waiting for a lock on shop_order, held by session 7 of site@10.0.0.5 (Sleep for 42 s): "
        "trying for up to 10 s",
        "waiting for a lock on shop_order, held by session 9 of report@10.0.0.6 (Query for 3 s): "
        "trying for up to 10 s",
    ]


def test_postgresql_concurrent_index_has_no_lock_timeout_and_no_retry() -> None:
    for errors in ([], [blocked("postgresql")]):
        case = Case("postgresql")
        work = Work(*errors)
        with pytest.raises(OperationalError) if errors else nullcontext():
            case.execute(work, "create index concurrently i on thing (size)")
        # A timeout would leave an invalid index; the next statement has the timeout again.
        assert len(work.calls) == 1
        assert case.connection.executed == ["SET lock_timeout = 0", "SET lock_timeout = '1s'"]


def test_mysql_retries_a_statement_that_mentions_concurrently() -> None:
    case = Case("mysql")
    assert case.execute(Work(blocked("mysql")), "-- CONCURRENTLY") == "result"
    assert not case.connection.executed


def test_statement_in_a_retryable_transaction_is_not_retried_alone(case: Case) -> None:
    case.begin_transaction(whole=True)
    work = Work(blocked(case.vendor))

    with pytest.raises(OperationalError):
        case.execute(work)

    assert len(work.calls) == 1


def test_mysql_ddl_ends_the_retry_of_the_whole_transaction() -> None:
    for sql in (
        *("ALTER TABLE thing", "  create table x", "DROP TABLE x", "RENAME TABLE x"),
        "TRUNCATE thing",
    ):
        case = Case("mysql")
        case.begin_transaction(whole=True)
        assert case.execute(Work(blocked("mysql")), sql) == "result"
        assert case.waits.whole is False

    case = Case("postgresql")
    case.begin_transaction(whole=True)
    case.execute(Work(), "ALTER TABLE thing")
    assert case.waits.whole is True


def test_mysql_does_not_retry_after_the_transaction_was_rolled_back() -> None:
    for kind, undoes_all in (("deadlock", False), ("timeout", True)):
        case = Case("mysql")
        case.begin_transaction(whole=False)
        case.waits.timeout_undoes_all = undoes_all
        work = Work(blocked("mysql", kind))
        with pytest.raises(LockNotFreeError, match=r"a row\. It cannot be retried"):
            case.execute(work)
        assert len(work.calls) == 1


def test_postgresql_retries_a_statement_from_a_savepoint() -> None:
    case = Case("postgresql")
    case.begin_transaction(whole=False)

    assert case.execute(Work(blocked("postgresql"))) == "result"

    assert case.connection.executed == [
        "SAVEPOINT lock_waits",
        "ROLLBACK TO SAVEPOINT lock_waits",
        "SAVEPOINT lock_waits",
        "RELEASE SAVEPOINT lock_waits",
    ]


def test_transaction_is_retried_unless_part_of_it_is_committed(case: Case) -> None:
    work = Work(blocked(case.vendor))
    case.waits.retry_whole(work)
    assert len(work.calls) == 2

    case.waits.whole = False
    with pytest.raises(LockNotFreeError, match="cannot be retried safely"):
        case.waits.retry_whole(Work(blocked(case.vendor)))


@pytest.mark.parametrize(
    ("migration_atomic", "operation_atomic", "repeated"),
    [(False, True, True), (False, None, False), (True, None, True), (True, False, False)],
)
def test_only_operations_in_a_transaction_are_retried_as_a_whole(
    case: Case,
    monkeypatch: pytest.MonkeyPatch,
    migration_atomic: bool,
    operation_atomic: bool | None,
    repeated: bool,
) -> None:
    """In a non-atomic migration, `atomic` of the operation decides."""
    began: list[str] = []

    @contextmanager
    def atomic(alias: str) -> Iterator[None]:
        """Begin a transaction, and undo it at an error."""
        began.append(alias)
        yield

    monkeypatch.setattr(lock_waits, "atomic", atomic)
    editor: Any = SimpleNamespace(atomic_migration=False)
    operation = RunSQL("SELECT 1")
    retried_as_whole: list[bool] = []
    errors = [blocked(case.vendor)]

    def forwards(*given: Any) -> None:
        assert given == ("shop", editor, "before", "after")
        retried_as_whole.append(case.waits.whole)
        if errors:
            raise errors.pop()

    vars(operation).update(atomic=operation_atomic, database_forwards=forwards)
    migration = Migration("0001_initial", "shop")
    migration.atomic, migration.operations = migration_atomic, [operation]

    def original(state: Any, editor: Any, collect: bool) -> str:
        assert collect
        for one in migration.operations:
            one.database_forwards("shop", editor, state, "after")
            retried_as_whole.append(case.waits.whole)
        return "state"

    with nullcontext() if repeated else pytest.raises(OperationalError):
        assert case.waits.apply(migration, original, "before", editor, True) == "state"
        assert migration.operations[0].atomic is False
        assert case.waits.whole is True

    assert retried_as_whole == ([True, True, False] if repeated else [False])
    # One for each try, so that the first has left nothing.
    assert began == (["default"] * 2 if repeated else [])
    # The operation in memory is unchanged.
    assert operation.atomic is operation_atomic


def test_atomic_migration_is_applied_unchanged(case: Case) -> None:
    migration = Migration("0001_initial", "shop")
    operations = migration.operations = [RunSQL("SELECT 1")]
    editor: Any = SimpleNamespace(atomic_migration=True)
    work = Work()

    assert case.waits.apply(migration, work, "state", editor, True) == "result"

    assert work.calls == [("state", editor, True)]
    assert migration.operations is operations


def test_migrating_connection_has_the_lock_timeout_and_is_watched(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_waits, "connections", {"default": case.connection})
    server = SERVERS[case.vendor]
    connection: Any = case.connection
    other: Any = Connection(case.vendor)
    case.connection.rows = [ROWS] * 3
    receivers = (len(connection_created.receivers), len(pre_migrate.receivers))

    with short_lock_waits(connection, SECONDS, print) as migrate:
        assert connection.executed[:2] == [server.limit, server.session]
        assert len(connection.wrappers) == 1
        migration = Migration("0001_initial", "shop")
        plan: Any = [(migration, False)]
        pre_migrate.send(sender=None, plan=plan, using="other")
        assert "apply" not in vars(migration)
        for _ in range(2):
            pre_migrate.send(sender=None, plan=plan, using="default")
        # Once, although Django sends the signal for each app.
        own, django_apply = vars(migration)["apply"].args
        assert own is migration and django_apply.__func__ is Migration.apply
        # After a reconnect, too.
        connection.executed.clear()
        connection_created.send(sender=None, connection=other)
        connection_created.send(sender=None, connection=connection)
        assert [one for one in connection.executed if isinstance(one, str)] == [
            server.limit,
            server.session,
        ]
        assert not other.executed
        assert migrate(Work(blocked(case.vendor))) is None

    assert (len(connection_created.receivers), len(pre_migrate.receivers)) == receivers


def test_lock_holders_are_looked_up_while_a_statement_waits() -> None:
    """It waits for a second; a slower watcher would never see who blocks it."""
    assert 2 * lock_waits.POLL_SECONDS < lock_waits.TRY_SECONDS


def test_lock_holders_are_watched_until_the_end(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_waits, "POLL_SECONDS", 0.001)
    case.connection.rows = [[], [*ROWS, *ROWS], []]
    case.holders.session = 5

    with case.holders as holders:
        # The last rows are followed by an error.
        holders.join(30)

    assert holders.daemon
    assert case.connection.executed == [(SERVERS[case.vendor].holders, [5])] * 4
    # Three at most, the latest.
    assert holders.sessions == [7, 9, 7]
    assert holders.words.startswith("shop_order, held by session 7 of site@10.0.0.5")
    assert " (its holder is unknown: permission denied; docs/migrations.md#locks has" in (
        holders.words
    )


def test_sqlite_migrates_without_lock_waits() -> None:
    """Its readers never wait for a writer."""
    connection: Any = Connection("sqlite")
    work = Work()

    with short_lock_waits(connection, SECONDS, print) as migrate:
        assert migrate(work) == "result"

    assert not connection.executed and not connection.wrappers
