"""Runs inside a container of the new release: what would it migrate, and can the old one live so.

Arguments: `state`, which answers {"applied": [...], "unapplied": [...]}, or `lint`, which adds
"errors" and "warnings", each a mapping from a migration to what is wrong with it; then a mark. The
answer is JSON behind that mark, on a line of its own.
Needs django-migration-linter: https://github.com/3YOURMIND/django-migration-linter
"""

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import django
from django.db import connection
from django.db.migrations import RunPython, RunSQL
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState

Findings = dict[str, list[str]]

NAME = r"[`\"]?([\w$-]+)[`\"]?(?![\w$-])"
FLAGS = re.IGNORECASE | re.DOTALL
# A statement about one table. What is not understood concerns the running release.
TABLE = re.compile(
    r"\s*(?:(?:ALTER|CREATE|DROP|RENAME)\s+TABLE|TRUNCATE(?:\s+TABLE)?|"
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+(?:CONCURRENTLY\s+)?\S+\s+ON)\s+"
    rf"(?:IF\s+(?:NOT\s+)?EXISTS\s+|ONLY\s+)*{NAME}(?!\s*[,.])(.*)",
    FLAGS,
)
RENAMED = re.compile(rf"\s*(?:RENAME\s+)?TO\s+{NAME}[\s;]*$", FLAGS)
CLAUSES = re.compile(r",\s*(?=(?:ADD|ALTER|CHANGE|DROP|MODIFY|RENAME)\b)", FLAGS)
COLUMN = re.compile(
    r"\s*(ADD|ALTER|DROP|MODIFY|RENAME)\s+(?:COLUMN\s+)?(?:IF\s+(?:NOT\s+)?EXISTS\s+)?"
    r"(?!(?:CHECK|CONSTRAINT|FOREIGN|FULLTEXT|INDEX|KEY|PRIMARY|SPATIAL|TO|UNIQUE)\b)"
    rf"{NAME}(.*)",
    FLAGS,
)
UNIQUE = re.compile(r"\s*ADD\s+CONSTRAINT\s+\S+\s+UNIQUE\s*\(([^)]*)\)", FLAGS)
NOT_NULL = re.compile(r"(?<!IS )(?<!DROP )\bNOT\s+NULL\b", FLAGS)
DEFAULT = re.compile(r"\b(DEFAULT\s+(?!NULL\b)|AUTO_INCREMENT|GENERATED|IDENTITY)", FLAGS)


class Running:
    """The tables and columns of the running release, which a migration must leave usable.

    What does not exist yet can break none of its requests.
    """

    def __init__(self) -> None:
        """Ask the database for its tables."""
        names = connection.introspection.table_names(include_views=True)
        self.tables = {name.casefold(): name for name in names}
        # Columns that the database itself gives a value, by what has been read so far.
        self.defaults: set[tuple[str, str]] = set()

    @cache  # noqa: B019 (one object, as long as the process)
    def columns(self, table: str) -> dict[str, bool]:
        """Return the columns that a table has now, and whether each may be NULL."""
        with connection.cursor() as cursor:
            described = connection.introspection.get_table_description(
                cursor, self.tables[table.casefold()]
            )
        return {column.name.casefold(): bool(column.null_ok) for column in described}

    def knows(self, app: str, state: ProjectState) -> bool:
        """Return whether one of an app's tables exists."""
        models = state.apps.get_models(include_auto_created=True)
        tables = {model._meta.db_table for model in models if model._meta.app_label == app}
        return any(table.casefold() in self.tables for table in tables)

    def concerned(self, statement: str) -> bool:
        """Return whether a statement changes what the running release has."""
        about = TABLE.match(statement)
        if about is None:
            return True
        table, rest = about.groups()
        if table.casefold() not in self.tables:
            return False
        if renamed := RENAMED.match(rest):
            self.tables[renamed[1].casefold()] = self.tables[table.casefold()]
        return any(self._concerned(table, clause) for clause in CLAUSES.split(rest))

    def _concerned(self, table: str, clause: str) -> bool:
        if unique := UNIQUE.match(clause):
            # NULL in a column that it does not write, so its rows never clash.
            names = {name.strip(' `"').casefold() for name in unique[1].split(",")}
            empty = names - self.columns(table).keys()
            return not any((table, name) not in self.defaults for name in empty)
        match = COLUMN.match(clause)
        if match is None or match[1].upper() == "ADD":
            return True
        return match[2].casefold() in self.columns(table)

    def not_null(self, statements: list[str]) -> Iterator[tuple[str, str, str]]:
        """Yield what its INSERTs would fail for: table, column, and what to do about it."""
        strict: dict[tuple[str, str], None] = {}
        for table, (verb, column, words) in altered(statements):
            if table.casefold() not in self.tables:
                continue
            place = (table, column.casefold())
            whole = verb.upper() in ("ADD", "MODIFY")
            if NOT_NULL.search(words):
                strict[place] = None
            elif whole or "DROP NOT NULL" in words.upper():
                strict.pop(place, None)
            if DEFAULT.search(words) and "DROP DEFAULT" not in words.upper():
                self.defaults.add(place)
            elif whole or "DROP DEFAULT" in words.upper():
                self.defaults.discard(place)
        for table, column in strict:
            present = self.columns(table)
            if column not in present and (table, column) not in self.defaults:
                yield (
                    *(table, column),
                    "the running release does not name it in its INSERTs. Give the field "
                    "db_default=..., or null=True. Then replace this migration, since a second one "
                    "does not change it: delete its file, and run ./manage.py makemigrations",
                )
            elif present.get(column):
                yield (
                    *(table, column),
                    "the running release may write NULL. Deploy a release first that never does",
                )


def altered(statements: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each change of a column: its table; verb, column, and the words behind it."""
    for statement in statements:
        if about := TABLE.match(statement):
            for clause in CLAUSES.split(about[2]):
                if match := COLUMN.match(clause):
                    yield about[1], match.groups()


def understood(statement: str) -> bool:
    """Return whether not_null() reads all of a statement."""
    about = TABLE.match(statement)
    return about is not None and all(
        COLUMN.match(clause) or not NOT_NULL.search(clause) for clause in CLAUSES.split(about[2])
    )


def state() -> dict[str, Any]:
    """Return the migrations by whether the database has seen them, those to come in order."""
    executor = MigrationExecutor(connection)
    applied = sorted(f"{app}.{name}" for app, name in executor.loader.applied_migrations)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    unapplied = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
    return {"applied": applied, "unapplied": unapplied}


def lint(applied: list[str], unapplied: list[str]) -> dict[str, Findings]:
    """Return what the linter says of the migrations to come, from their SQL for this database."""
    from django_migration_linter import MigrationLinter
    from django_migration_linter.sql_analyser.base import Issue

    errors: Findings = {}
    warnings: Findings = {}
    running = Running()
    # Style of an app that is new here is its authors' affair.
    known = {name.partition(".")[0] for name in applied}

    def keep(findings: Findings, issues: list[Any]) -> None:
        for issue in issues:
            style = issue.code.startswith(("RUNPYTHON_", "RUNSQL_"))
            if style and current.partition(".")[0] not in known:
                continue
            kept = (warnings if style else findings).setdefault(current, [])
            # A RunSQL is read twice: alone, and among its migration's statements.
            if words(issue) not in kept:
                kept.append(words(issue))

    class Collector(MigrationLinter):  # type: ignore[misc,unused-ignore]
        """Keeps what the linter would print."""

        def print_errors(self, issues: list[Any]) -> None:
            keep(errors, issues)

        def print_warnings(self, issues: list[Any]) -> None:
            keep(warnings, issues)

        def lint_runsql(self, runsql: RunSQL) -> Any:
            # The reverse SQL, which the linter would judge as well, is not about to run.
            return super().lint_runsql(RunSQL(runsql.sql, RunSQL.noop))

        def lint_runpython(self, runpython: RunPython) -> Any:
            try:
                return super().lint_runpython(runpython)
            except (OSError, TypeError, AttributeError):  # a callable without a source
                return [], [], []

    linter = Collector(no_output=True, no_cache=True)

    class Analyser(linter.sql_analyser_class):  # type: ignore[misc,unused-ignore,name-defined]
        errors: list[Any]
        warnings: list[Any]

        """Passes over what the running release does not have, and names the columns."""

        def analyse(self, statements: list[str]) -> None:
            kept = [statement for statement in statements if running.concerned(statement)]
            super().analyse([statement for statement in kept if not understood(statement)])
            unknown = any(issue.code == "NOT_NULL" for issue in self.errors)
            self.errors.clear()
            self.warnings.clear()
            super().analyse(kept)
            self.errors[:] = [i for i in self.errors if unknown or i.code != "NOT_NULL"]
            for table, column, why in running.not_null(statements):
                message = f"NOT NULL constraint on {table}.{column}: {why}"
                self.errors.append(Issue("NOT_NULL", message))

    linter.sql_analyser_class = Analyser
    for current in unapplied:
        app, _, name = current.partition(".")
        try:
            linter.lint_migration(linter.migration_loader.graph.nodes[app, name])
        except Exception as error:
            # Django queries the database for what an earlier one of these migrations will create.
            migration = linter.migration_loader.graph.nodes[app, name]
            if running.knows(app, linter.migration_loader.project_state((app, name))):
                errors.setdefault(current, []).append(f"could not be checked: {error}")
            else:
                keep(errors, linter.analyse_data_migration(migration)[0])
    return {"errors": errors, "warnings": warnings}


def words(issue: Any) -> str:
    """Return a finding with its table and column."""
    place = ".".join(part for part in (issue.table, issue.column) if part)
    return f"{issue.message} ({place})" if place else str(issue.message)


def main() -> None:
    """Do what the arguments say."""
    django.setup()
    result = state()
    if sys.argv[1] == "lint":
        result |= lint(result["applied"], result["unapplied"])
    # On a line of its own, whatever was printed before.
    print(f"\n{sys.argv[2]}{json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main()
