"""Runs as migrate does: migrations of every kind while another session holds a lock.

Without an argument it runs all kinds in parallel processes. Prints JSON: how each ended, its
messages, the rows afterwards, and another session's failed queries and longest one.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import django
from django.db import Error, connection, migrations, models, transaction
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState
from django.db.models.signals import pre_migrate

django.setup()

from ops.database.lock_waits import LockNotFreeError, short_lock_waits  # noqa: E402

APP = f"locked_{'_'.join(sys.argv[1:]).replace(' ', '_')}"
THING, PARENT = f"{APP}_thing", f"{APP}_parent"
MYSQL = connection.vendor == "mysql"
# The lock is held for one failed try; the patience allows for more.
HELD_SECONDS, PATIENCE_SECONDS = 1.5, 20
NEVER_SECONDS, SHORT_PATIENCE_SECONDS = 60, 3
KEY = ("id", models.AutoField(primary_key=True))


def run(*statements: str) -> None:
    """Run SQL statements."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def increment(*numbers: int) -> None:
    """Increment rows."""
    run(*(f"UPDATE {THING} SET size = size + 1 WHERE id = {number}" for number in numbers))


def increment_free_then_locked(apps: object, editor: object) -> None:
    """Increment a free row, then a locked one."""
    increment(2, 1)


def increment_each_in_its_transaction(apps: object, editor: object) -> None:
    """Increment each row twice, in its own transaction."""
    for number in (2, 1):
        with transaction.atomic():
            increment(number, number)


def alter_then_increment(apps: object, editor: object) -> None:
    """Alter a table with SQL, which commits on MySQL, then increment a locked row."""
    run(f"ALTER TABLE {PARENT} ADD year int")
    increment(1, 2)


READS, WRITES = f"SELECT * FROM {THING}", f"UPDATE {THING} SET size = 0 WHERE id = 1"
COLUMN = migrations.AddField("thing", "color", models.IntegerField(null=True))
AGE = migrations.AddField("parent", "age", models.IntegerField(null=True))
LINK = models.ForeignKey(f"{APP}.Parent", models.CASCADE, null=True)
INDEX = models.Index(fields=["size"], name=f"{APP}_i"[-30:])
# (statement of the other session, whether the migration is atomic, its operations)
KINDS: dict[str, tuple[str, bool, list[Any]]] = {
    "column": (READS, True, [COLUMN]),
    "second operation": (READS, True, [AGE, COLUMN]),
    "removed column": (READS, True, [migrations.RemoveField("thing", "size")]),
    "index": (WRITES, True, [migrations.AddIndex("thing", INDEX)]),
    "foreign key": (
        f"UPDATE {PARENT} SET id = id",
        True,
        [migrations.AddField("thing", "parent", LINK)],
    ),
    "sql": (READS, True, [migrations.RunSQL(f"ALTER TABLE {THING} ADD color int")]),
    "rows": (WRITES, True, [AGE, migrations.RunPython(increment_free_then_locked)]),
    "rows in turns": (
        WRITES,
        False,
        [AGE, migrations.RunPython(increment_each_in_its_transaction)],
    ),
    "rows apart": (
        WRITES,
        False,
        [AGE, migrations.RunPython(increment_free_then_locked, atomic=True)],
    ),
    "rows after a change": (WRITES, True, [migrations.RunPython(alter_then_increment)]),
}


@contextmanager
def locked(sql: str, seconds: float) -> Iterator[None]:
    """Run a statement in a transaction of another session, which stays open."""
    ready, over = threading.Event(), threading.Event()

    def hold() -> None:
        with closing(connection.copy()) as other:
            other.set_autocommit(False)
            with other.cursor() as cursor:
                cursor.execute(sql)
                ready.set()
                over.wait(seconds)
            other.rollback()

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def concurrent_session(longest: list[float], failed: list[str]) -> Iterator[None]:
    """Read, and write a free row, in another session; record how long each takes, and errors."""
    over = threading.Event()

    def visit() -> None:
        with closing(connection.copy()) as other:
            while not over.wait(0.05):
                started = time.monotonic()
                try:
                    with other.cursor() as cursor:
                        cursor.execute(f"SELECT id FROM {THING}")
                        cursor.execute(f"UPDATE {THING} SET id = id WHERE id = 2")
                    longest.append(time.monotonic() - started)
                except Error as error:
                    failed.append(str(error))

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def outcome(kind: str, seconds: float, patience: float) -> dict[str, object]:
    """Run a migration of this kind while another session holds its lock."""
    lock, atomic, operations = KINDS[kind]
    run(*(f"DROP TABLE IF EXISTS {name}{'' if MYSQL else ' CASCADE'}" for name in (THING, PARENT)))
    base = Migration("base", APP)
    base.operations = [
        migrations.CreateModel("Parent", [KEY]),
        migrations.CreateModel("Thing", [KEY, ("size", models.IntegerField())]),
    ]
    with connection.schema_editor() as editor:
        state = base.apply(ProjectState(), editor)
    run(f"INSERT INTO {THING} VALUES (1, 10), (2, 20)", f"INSERT INTO {PARENT} VALUES (1)")
    executor = MigrationExecutor(connection)
    said: list[str] = []
    longest: list[float] = []
    failed: list[str] = []

    def migrate_once() -> None:
        migration = Migration("next", APP)
        migration.atomic, migration.operations = atomic, operations
        pre_migrate.send(None, plan=[(migration, False)], using=connection.alias)
        executor.apply_migration(state.clone(), migration)
        executor.recorder.record_unapplied(APP, "next")

    ended = "done"
    with locked(lock, seconds), concurrent_session(longest, failed):
        try:
            with short_lock_waits(connection, patience, said.append) as migrate:
                migrate(migrate_once)
        except LockNotFreeError as error:
            ended = str(error)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {THING} ORDER BY id")
        rows = cursor.fetchall()
    run(f"DROP TABLE {THING}", f"DROP TABLE {PARENT}")
    return {
        "ended": ended,
        "said": said,
        "rows": rows,
        "failed": failed,
        "longest": max(longest, default=0),
    }


def main() -> None:
    """Run one kind of migration, or start a process for each kind."""
    if kind := " ".join(sys.argv[1:]):
        released = outcome(kind, HELD_SECONDS, PATIENCE_SECONDS)
        never = outcome(kind, NEVER_SECONDS, SHORT_PATIENCE_SECONDS)
        print(json.dumps({"released": released, "never": never}))
        return
    started = {
        kind: subprocess.Popen([*sys.orig_argv, kind], stdout=subprocess.PIPE) for kind in KINDS
    }
    answers = {kind: process.communicate()[0] for kind, process in started.items()}
    print(json.dumps({kind: json.loads(answer or "null") for kind, answer in answers.items()}))


if __name__ == "__main__":
    main()
