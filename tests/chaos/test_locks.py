"""A migration that waits for a table that another session has locked."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.chaos import release
from tests.chaos.load import Client, Load, repeated
from tests.chaos.release import both_on, output_of, releases_in_service, stackctl
from tests.chaos.reliability import Figures
from tests.chaos.test_deploy import QUICK, half_way_tables, migrations
from tests.stack.compose import Stack

PATIENCE_SECONDS = 6
COLUMN = """migrations.AddField(
    "parkedtask", "locked_column", __import__("django.db.models").db.models.IntegerField(null=True)
)"""
# Reads the table in a transaction that stays open until standard input ends.
READER = """
import sys
import django
django.setup()
from django.db import connection, transaction
with transaction.atomic(), connection.cursor() as cursor:
    cursor.execute("SELECT COUNT(*) FROM ops_parkedtask")
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def table_in_use(stack: Stack) -> Iterator[Callable[[], object]]:
    """Keep a transaction open that has read the table; yield a function that ends it."""
    command = ("docker", "exec", "-i", stack.container("worker"), "python", "-c", READER)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin and reader.stdout
        try:
            assert reader.stdout.readline() == "held\n"
            yield reader.stdin.close
        finally:
            reader.stdin.close()


def test_migration_that_waits_for_a_lock_fails_no_request(
    loaded: Stack, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, containers = releases_in_service(loaded), release.containers(loaded)
    load = Load(
        loaded.http_port,
        [
            *(Client(repeated("GET", "/loadtest/parked")(), interval=1) for _ in range(10)),
            *(Client(repeated("GET", "/profile/")(), interval=1) for _ in range(5)),
        ],
    )
    with load, migrations(loaded, locked=COLUMN):
        load.warm_up()
        with table_in_use(loaded), monkeypatch.context() as patient:
            patient.setitem(loaded.environment, "DB_LOCK_WAIT_SECONDS", str(PATIENCE_SECONDS))
            refused = output_of(3, stackctl(loaded, "deploy", "--release", "never"))
        assert releases_in_service(loaded) == before
        assert release.containers(loaded) == containers
        entries = json.loads(output_of(0, stackctl(loaded, "releases", "--json")))["releases"]
        try:
            with table_in_use(loaded) as release_lock:
                deploy = release.start_stackctl(loaded, "deploy", "--release", "patient", *QUICK)
                assert deploy.stdout
                lines = []
                for line in deploy.stdout:
                    lines.append(line)
                    if "waiting for a lock on ops_parkedtask" in line:
                        release_lock()
            assert deploy.wait(60) == 0, "".join(lines)[-3000:]
            assert releases_in_service(loaded) == both_on("patient")
        finally:
            half_way_tables(
                loaded,
                "ALTER TABLE ops_parkedtask DROP COLUMN locked_column",
                "DELETE FROM django_migrations WHERE name LIKE '9%%'",
            )

    figures.add(
        "`stackctl deploy` of a nullable column while another session holds a lock on the table: "
        f"for more than {PATIENCE_SECONDS} s, then until the migration waits; 15 requests/s",
        "0 failed; deploy fails (3), names the lock holder and touches no server; then succeeds",
        load,
    )
    assert not load.failed, load.summary()
    assert any("waiting for a lock on ops_parkedtask, held by session" in line for line in lines)
    record = next(entry for entry in entries if entry["release"] == "never")
    assert record["outcome"] == "failed"
    for message in (refused, record["note"]):
        assert f"no lock within {PATIENCE_SECONDS} s on ops_parkedtask, held by session" in message
    assert "Applied, not undone: none." in refused
