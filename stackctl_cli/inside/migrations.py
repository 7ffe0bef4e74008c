"""Runs inside a container of the new release: what would it migrate, and can the old one live so.

Argument: `state` prints {"applied": [...], "unapplied": [...]}; `lint` adds "errors" and
"warnings", each a mapping from a migration to what is wrong with it. JSON, on the last line.
Needs django-migration-linter: https://github.com/3YOURMIND/django-migration-linter
"""

import json
import sys
from typing import Any

import django
from django.db import connection
from django.db.migrations import RunSQL
from django.db.migrations.executor import MigrationExecutor

Findings = dict[str, list[str]]


def state() -> dict[str, Any]:
    """Return the migrations by whether the database has seen them, those to come in order."""
    executor = MigrationExecutor(connection)
    applied = sorted(f"{app}.{name}" for app, name in executor.loader.applied_migrations)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    unapplied = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
    return {"applied": applied, "unapplied": unapplied}


def lint(unapplied: list[str]) -> dict[str, Findings]:
    """Return what the linter says of the migrations to come, from their SQL for this database."""
    from django_migration_linter import MigrationLinter

    errors: Findings = {}
    warnings: Findings = {}

    class Collector(MigrationLinter):  # type: ignore[misc,unused-ignore]
        """Keeps what the linter would print."""

        def print_errors(self, issues: list[Any]) -> None:
            errors.setdefault(current, []).extend(map(words, issues))

        def print_warnings(self, issues: list[Any]) -> None:
            warnings.setdefault(current, []).extend(map(words, issues))

        def lint_runsql(self, runsql: RunSQL) -> Any:
            # Its way back, which the linter would judge as well, is not what is about to run.
            return super().lint_runsql(RunSQL(runsql.sql, RunSQL.noop))

    linter = Collector(no_output=True, no_cache=True)
    for current in unapplied:
        app, _, name = current.partition(".")
        try:
            linter.lint_migration(linter.migration_loader.graph.nodes[app, name])
        except Exception as error:
            errors.setdefault(current, []).append(f"could not be checked: {error}")
    return {"errors": errors, "warnings": warnings}


def words(issue: Any) -> str:
    """Return a finding with its table and column."""
    place = ".".join(part for part in (issue.table, issue.column) if part)
    return f"{issue.message} ({place})" if place else str(issue.message)


def main() -> None:
    """Do what the argument says."""
    django.setup()
    found = state()
    if sys.argv[1] == "lint":
        found |= lint(found["unapplied"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
