"""The migration gate, and migrations that wait for locks."""

import json
from pathlib import Path
from typing import Any

from tests.stack.compose import Stack
from tools.stackctl.releases.migrate import SCRIPT  # remove_demo

HERE = Path(__file__).parent
# A try of 1 s, a pause, and a busy machine. Without the pauses, other sessions would wait for the
# whole patience.
DELAY_SECONDS = 8


def run(stack: Stack, script: str, *arguments: str) -> Any:
    """Run a script of this folder in server1, and return its JSON output."""
    code = (HERE / script).read_text(encoding="utf-8")
    return json.loads(stack.run_in("server1", "python", "-c", code, *arguments))


# remove_demo: begin
def check_gate(stack: Stack) -> None:
    """The gate accepts new apps, and refuses incompatible changes with a hint."""
    plan = run(stack, "gate.py", SCRIPT.read_text(encoding="utf-8"), "/tmp")
    errors: dict[str, list[str]] = plan["errors"]

    assert {"sites.0002_alter_domain_unique", "shop.0004_renamed"} <= set(plan["unapplied"])
    assert "shop.0001_initial" not in plan["applied"]
    assert sorted(errors) == [
        "demo.9001_no_default",
        "demo.9002_not_null",
        "demo.9003_null_written",
        "demo.9004_drop",
        "demo.9005_rename",
        "demo.9006_table",
        "demo.9007_unique",
        "demo.9008_sql",
    ]
    for name, column in (("9001_no_default", "y"), ("9002_not_null", "shade"), ("9008_sql", "z")):
        (finding,) = errors[f"demo.{name}"]
        assert f"NOT NULL constraint on demo_upload.{column}: " in finding
        assert "db_default=..., or null=True" in finding
    (finding,) = errors["demo.9003_null_written"]
    assert "demo_upload.finished: the running release may write NULL" in finding
    assert errors["demo.9004_drop"] == ["DROPPING columns (demo_upload.error)"]
    assert plan["warnings"] == {}


# remove_demo: end


def check_lock_waits(stack: Stack) -> None:
    """Each kind waits for a short lock, and fails on a long one, naming its holder."""
    kinds = json.loads(stack.migrating((HERE / "lock_waits.py").read_text(encoding="utf-8")))
    rows = {
        **dict.fromkeys(("column", "second operation", "sql", "foreign key"), ([10], [20])),
        **dict.fromkeys(("index",), ([10], [20])),
        **dict.fromkeys(("rows", "rows apart", "rows after a change"), ([11], [21])),
        "rows in turns": ([12], [22]),
        "removed column": ([], []),
    }

    assert set(kinds) == set(rows)
    for kind, (first, second) in rows.items():
        released, never = kinds[kind]["released"], kinds[kind]["never"]
        assert released["ended"] == "done", (kind, released)
        assert [row[:2] for row in released["rows"]] == [[1, *first], [2, *second]], kind
        assert ", held by session " in never["ended"], (kind, never)
        assert "End that transaction (SQL: " in never["ended"]
        # The row that the other session locked is unchanged.
        assert never["rows"][0][1] == 10
        for outcome in (released, never):
            assert not outcome["failed"], (kind, outcome)
            assert outcome["longest"] < DELAY_SECONDS, (kind, outcome)


# remove_demo: begin
def test_migration_gate_accepts_new_apps_and_names_incompatible_columns(production: Stack) -> None:
    check_gate(production)


# remove_demo: end


def test_migrations_retry_locks_with_short_waits(production: Stack) -> None:
    check_lock_waits(production)
