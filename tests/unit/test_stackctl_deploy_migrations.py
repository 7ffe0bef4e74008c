"""Migrations of a deploy: refused, failed, and waiting for a lock."""

import pytest

from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import Stack, fails


def test_deploy_refuses_incompatible_migrations_unless_allowed(stack: Stack) -> None:
    stack.data.migrations["bbbb"] = ["shop.0002"]
    stack.data.findings = {
        "errors": {"shop.0002": ["it drops a column"], "shop.0003": ["it drops a table"]},
        "warnings": {"shop.0002": ["it runs Python"]},
    }

    ended = stack.deploy("bbbb")

    assert ended.code == 1
    assert "is not compatible with these migrations; nothing was changed" in ended.result["error"]
    errors = "shop.0002: it drops a column\nshop.0003: it drops a table\n"
    assert ended.result["next"].startswith(errors)
    assert "./stackctl deploy --allow-incompatible" in ended.result["next"]
    assert "warning: migration shop.0002: it runs Python" in ended.err
    assert "migrate" not in stack.steps and stack.serves("aaaa")
    assert stack.record()[-1][2] == "failed"

    ended = stack.deploy("bbbb", "--allow-incompatible")
    assert ended.code == 0
    assert "incompatible, but allowed: shop.0002: it drops a column" in ended.err


def test_deploy_allows_any_migration_of_an_empty_database(stack: Stack) -> None:
    stack.data.applied = []
    stack.data.migrations["bbbb"] = ["shop.0001"]
    stack.data.findings = {"errors": {"shop.0001": ["NOT NULL"]}}

    assert stack.deploy("bbbb").code == 0


@pytest.mark.parametrize(
    ("image", "variable", "words"),
    [
        ("mysql:9.7", "MYSQL_DATABASE", "MySQL cannot roll back a schema change"),
        ("postgres:17", "POSTGRES_DB", "PostgreSQL has rolled it back"),
    ],
)
def test_failed_migration_is_recorded_with_the_applied_migrations(
    stack: Stack, image: str, variable: str, words: str
) -> None:
    stack.extra["db"] = {"image": image}
    stack.containers["db"].environ[variable] = NAME
    stack.data.accepted["postgres.sh"] = ["a-password"]
    stack.data.migrations["bbbb"] = ["shop.0002", "shop.0003", "shop.0004"]
    stack.data.migration_fails = (1, 1, "Applying shop.0003...\nOperationalError: no column")

    ended = stack.deploy("bbbb")

    assert ended.code == 3
    assert ended.result["error"].startswith("a migration failed\n")
    assert "no server was changed" in ended.result["error"]
    assert ended.result["next"].splitlines() == [
        "Applied, not undone: shop.0002.",
        next(line for line in ended.result["next"].splitlines() if words in line),
        "Not tried: shop.0004.",
    ]
    assert "Failed: shop.0003. " in ended.result["next"]
    assert "OperationalError: no column" in ended.err
    assert stack.serves("aaaa") and not any("drain" in step for step in stack.steps)
    last = stack.run("releases", "--json").result["releases"][0]
    assert last["outcome"] == "failed" and "not undone: shop.0002." in last["note"]


def test_migration_that_waited_for_a_lock_names_its_holder(stack: Stack) -> None:
    stack.data.migrations["bbbb"] = ["shop.0002"]
    words = "migrate: waiting for 1.2.3.4\nApplying shop.0002...CommandError: 1.2.3.4 holds it\n"
    stack.data.migration_fails = (0, 75, words)

    ended = stack.deploy("bbbb")

    assert "a migration waited for a lock: 1.2.3.4 holds it" in ended.result["error"]
    assert "Applied, not undone: none." in ended.result["next"]
    # Immediately, not only in the last lines.
    assert "Z migrate: waiting for 1.2.3.4\n" in ended.err


def test_deploy_of_a_release_that_cannot_list_its_migrations_changes_nothing(stack: Stack) -> None:
    stack.faults["lint migrations"] = lambda: Reply(1, "ImportError: no module", "")

    ended = stack.deploy("bbbb")

    assert ended.code == 1
    assert "cannot list its migrations (exit code 1); nothing was changed" in ended.result["error"]
    assert "ImportError: no module" in ended.err
    assert "Is the database up? `./stackctl status`." in ended.result["next"]


def test_failed_migration_without_a_database_reports_unknown_state(stack: Stack) -> None:
    stack.data.migrations["bbbb"] = ["shop.0002"]
    stack.data.migration_fails = (0, 1, "gone")
    stack.faults["state migrations"] = fails("no database")

    ended = stack.deploy("bbbb")

    assert ended.code == 3
    assert "is unknown: the database does not answer" in ended.result["next"]
