"""Which statements of a migration concern the running release."""

import json
import sys
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

from tools.stackctl.inside import migrations

pytestmark = pytest.mark.django_db

UNNAMED = "does not name it in its INSERTs"
WRITES_NULL = "may write NULL"


@pytest.fixture
def running(database: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch) -> migrations.Running:
    """Return a running release with one table."""
    with database.cursor() as cursor:
        cursor.execute('CREATE TABLE "Shop_Order" (id integer, "Name" text NOT NULL, note text)')
    monkeypatch.setattr(migrations, "connection", database)
    return migrations.Running()


@pytest.mark.parametrize(
    ("statement", "concerned"),
    [
        ("ALTER TABLE `shop_order` ADD COLUMN `size` integer NULL", True),
        ("ALTER TABLE `shop_order` DROP COLUMN `name`", True),
        ("alter table if exists only SHOP_ORDER drop column if exists NOTE cascade", True),
        ('ALTER TABLE "shop_order" RENAME COLUMN "name" TO "title"', True),
        ('ALTER TABLE "shop_order" ALTER COLUMN "note" TYPE text', True),
        ("ALTER TABLE `shop_order` MODIFY `note` text NOT NULL", True),
        ("ALTER TABLE `shop_order` DROP INDEX `by_name`", True),
        ("ALTER TABLE `shop_order` DROP FOREIGN KEY `fk`", True),
        ("CREATE UNIQUE INDEX CONCURRENTLY by_name ON shop_order (name)", True),
        ("TRUNCATE shop_order", True),
        ("RENAME TABLE shop_order TO shop_purchase", True),
        # Columns and tables that the release does not have.
        ("ALTER TABLE `shop_order` DROP COLUMN `size`", False),
        ("ALTER TABLE `shop_order` ALTER COLUMN `size` DROP DEFAULT, DROP COLUMN `kind`", False),
        ("ALTER TABLE `shop_order` DROP COLUMN `size`, DROP COLUMN `note`", True),
        ("CREATE TABLE `shop_item` (`id` integer NOT NULL)", False),
        ("CREATE TABLE IF NOT EXISTS shop_item (id integer)", False),
        ("CREATE INDEX by_id ON shop_item (id)", False),
        ("DROP TABLE `shop_item`", False),
        ("TRUNCATE TABLE shop_item", False),
        # Not parsed.
        ("UPDATE shop_item SET id = 1", True),
        ("DROP TABLE shop_item, shop_order", True),
        ("DROP TABLE archive.shop_item", True),
        ("ALTER TABLE `shop-orders` DROP COLUMN `name`", False),
    ],
)
def test_migration_statement_concerns_a_release_that_has_the_table_or_column(
    running: migrations.Running, statement: str, concerned: bool
) -> None:
    assert running.concerned(statement) is concerned


@pytest.mark.parametrize("verb", ["ALTER TABLE shop_order RENAME TO", "RENAME TABLE shop_order TO"])
def test_renamed_table_still_concerns_the_running_release(
    running: migrations.Running, verb: str
) -> None:
    assert not running.concerned("ALTER TABLE `shop_bought` DROP COLUMN `name`")
    assert running.concerned(f"{verb} `Shop_Bought`;")
    assert running.concerned("ALTER TABLE `shop_bought` DROP COLUMN `name`")
    assert not running.concerned("ALTER TABLE `shop_bought` DROP COLUMN `size`")


def test_unique_constraint_with_an_unknown_nullable_column_is_compatible(
    running: migrations.Running,
) -> None:
    unique = "ALTER TABLE `shop_order` ADD CONSTRAINT `u` UNIQUE (`Name`, `size`)"
    assert running.concerned(unique.replace("size", "note"))
    assert not running.concerned(unique)

    list(
        running.not_null(["ALTER TABLE `shop_order` ADD COLUMN `size` integer DEFAULT 1 NOT NULL"])
    )
    assert running.concerned(unique)


@pytest.mark.parametrize(
    ("clauses", "finding"),
    [
        (["ADD COLUMN `Size` integer NOT NULL"], ("size", UNNAMED)),
        (["ADD COLUMN size integer DEFAULT NULL NOT NULL"], ("size", UNNAMED)),
        (["ADD COLUMN size integer DEFAULT 1 NOT NULL", "ALTER COLUMN size DROP DEFAULT"], "size"),
        (["ADD COLUMN size integer DEFAULT 1 NOT NULL", "MODIFY size integer NOT NULL"], "size"),
        (["ADD COLUMN size integer NULL", "ALTER COLUMN size SET NOT NULL"], "size"),
        (["ADD COLUMN other integer NULL, ADD COLUMN size integer NOT NULL"], "size"),
        (["ALTER COLUMN note SET NOT NULL"], ("note", WRITES_NULL)),
        (["MODIFY `note` text NOT NULL"], ("note", WRITES_NULL)),
        (["ALTER COLUMN note SET DEFAULT 'x'", "ALTER COLUMN note SET NOT NULL"], "note"),
        (["MODIFY `name` text NOT NULL"], None),
        (["ADD COLUMN size integer DEFAULT 1 NOT NULL"], None),
        (["ADD COLUMN size integer NOT NULL", "ALTER COLUMN size SET DEFAULT 1"], None),
        (["ADD COLUMN size integer NOT NULL", "ALTER COLUMN size DROP NOT NULL"], None),
        (["ADD COLUMN size integer NOT NULL", "MODIFY size integer NULL"], None),
        (["ADD COLUMN size integer NULL CHECK (size IS NOT NULL)"], None),
        (["ADD COLUMN size integer NOT NULL AUTO_INCREMENT"], None),
        (["ADD COLUMN size integer NOT NULL GENERATED ALWAYS AS (id)"], None),
        (["ADD CONSTRAINT c CHECK (note NOT NULL)"], None),
    ],
)
def test_column_that_breaks_inserts_of_the_running_release_is_reported(
    running: migrations.Running, clauses: list[str], finding: object
) -> None:
    statements = [f"ALTER TABLE `shop_order` {clause}" for clause in clauses]
    result = list(running.not_null(statements))

    if isinstance(finding, tuple):
        ((table, column, why),) = result
        assert (table, column) == ("shop_order", finding[0]) and finding[1] in why
    else:
        assert [column for _, column, _ in result] == [finding] * (finding is not None)
    # None for a table that the release does not have.
    assert not list(running.not_null([text.replace("order", "item") for text in statements]))


@pytest.mark.parametrize(
    ("statement", "understood"),
    [
        ("ALTER TABLE shop_order ADD COLUMN size integer NOT NULL", True),
        ("CREATE INDEX by_name ON shop_order (name)", True),
        ("ALTER TABLE shop_order ADD CONSTRAINT c CHECK (note IS NOT NULL)", True),
        ("CREATE TABLE shop_item (id integer NOT NULL)", False),
        ("ALTER TABLE shop_order ADD COLUMN a integer, ADD CHECK (b NOT NULL)", False),
        ("UPDATE shop_order SET note = ''", False),
    ],
)
def test_statement_that_is_not_fully_parsed_is_left_to_the_linter(
    statement: str, understood: bool
) -> None:
    assert migrations.understood(statement) is understood


def test_migration_finding_names_its_table_and_column() -> None:
    issue = SimpleNamespace(message="DROPPING columns", table="shop_order", column="name")

    assert migrations.words(issue) == "DROPPING columns (shop_order.name)"
    issue.column = None
    assert migrations.words(issue) == "DROPPING columns (shop_order)"
    issue.table = None
    assert migrations.words(issue) == "DROPPING columns"


def test_unapplied_migrations_are_printed_in_order_after_the_mark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = MigrationRecorder(migrations.connection)
    recorder.record_unapplied("sessions", "0001_initial")
    for name in ("0010_alter_group_name_max_length", "0011_update_proxy_permissions"):
        recorder.record_unapplied("auth", name)
    recorder.record_unapplied("auth", "0012_alter_user_first_name_max_length")
    monkeypatch.setattr(sys, "argv", ["-", "state", "MARK"])
    print("printed before", end="")
    migrations.main()

    before, _, answer = capsys.readouterr().out.partition("\nMARK")
    assert before == "printed before"
    result = json.loads(answer)
    assert result.keys() == {"applied", "unapplied"}
    assert [name for name in result["unapplied"] if name.startswith("auth.")] == [
        "auth.0010_alter_group_name_max_length",
        "auth.0011_update_proxy_permissions",
        "auth.0012_alter_user_first_name_max_length",
    ]
    assert "sessions.0001_initial" in result["unapplied"]
    assert result["applied"] == sorted(result["applied"]) and "auth.0009" in str(result["applied"])


def test_app_is_known_when_one_of_its_tables_exists() -> None:
    running = migrations.Running()
    state = ProjectState.from_apps(apps)

    assert running.knows("auth", state)
    assert not running.knows("no_such_app", state)
    running.tables.clear()
    assert not running.knows("auth", state)
