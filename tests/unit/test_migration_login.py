"""Migrations sign in as a database user of their own, where there is one."""

from types import SimpleNamespace
from typing import Any

import pytest

from ops import environment
from ops.database import migration_login
from ops.database.migration_login import wait_as_migration_user
from ops.database.outage import DatabaseNotReadyError

OWN = {
    "DJANGO_SETTINGS_MODULE": "mysite.settings.test",
    "DB_ENGINE": "mysql",
    "DB_NAME": "site",
    "DB_USER": "web",
    "DB_PASSWORD": "x",
    "DB_HOST": "db",
}
SECRET = {"DB_MIGRATION_PASSWORD": "y"}


def login(**environ: str) -> dict[str, Any]:
    """Return whom a migration signs in as."""
    return environment.migration_login(environment.load({**OWN, **environ}))


def test_stack_own_database_has_a_migration_user() -> None:
    assert login(**SECRET) == {"USER": "migration", "PASSWORD": "y"}
    # Servers have no such password.
    assert login() == {}
    # One user has all rights there.
    assert login(**SECRET, DB_USER="migration") == {}


@pytest.mark.parametrize(
    "other", [{"DB_HOST": "db.example.com"}, {"DATABASE_URL": "mysql://u:p@db/n"}]
)
def test_other_database_has_one_user_unless_another_is_named(other: dict[str, str]) -> None:
    """The stack makes up a password, also where its own database is not used."""
    assert login(**other, **SECRET) == {}
    named = login(**other, **SECRET, DB_MIGRATION_USER="owner")
    assert named == {"USER": "owner", "PASSWORD": "y"}


class Database:
    """A database that accepts some users."""

    def __init__(self, *users: str) -> None:
        """Note the users that it accepts."""
        self.users = users
        self.said: list[str] = []
        self.signed_in = ""
        # Whether it answers the others.
        self.refuses = True
        self.connection = SimpleNamespace(
            settings_dict={"USER": "web", "PASSWORD": "x", "HOST": "db"}, close=self.close
        )

    def wait(self, connection: Any, *_: object) -> None:
        self.signed_in = self.signed_in or connection.settings_dict["USER"]
        if self.signed_in not in self.users:
            error = DatabaseNotReadyError(f"refused {self.signed_in}")
            error.refused = self.refuses
            self.signed_in = ""
            raise error

    def close(self) -> None:
        self.signed_in = ""


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the login of migrations, which a test can change."""
    login = {"USER": "migration", "PASSWORD": "y"}
    monkeypatch.setattr(environment, "migration_login", lambda _: dict(login))
    return login


def migrate_on(database: Database, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the user that migrates."""
    monkeypatch.setattr(migration_login, "wait_for_database", database.wait)
    wait_as_migration_user(database.connection, 1, database.said.append)
    return str(database.connection.settings_dict["USER"])


def test_migration_user_migrates(named: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database("web", "migration")
    assert migrate_on(database, monkeypatch) == database.signed_in == "migration"
    assert database.connection.settings_dict["PASSWORD"] == "y"
    assert database.said == []


def test_application_user_migrates_a_database_of_an_earlier_release(
    named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database("web")
    assert migrate_on(database, monkeypatch) == "web"
    assert database.connection.settings_dict["PASSWORD"] == "x"
    assert "no user migration yet" in database.said[0] and "no-deps db" in database.said[0]


def test_database_that_stops_answering_is_an_error(
    named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage does not say that there is no migration user."""
    database = Database("web")
    database.refuses = False

    with pytest.raises(DatabaseNotReadyError):
        migrate_on(database, monkeypatch)
    assert database.said == []


def test_refused_application_user_is_reported_before_migrating(
    named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatabaseNotReadyError, match="refused web"):
        migrate_on(Database("migration"), monkeypatch)


def test_refused_user_of_ones_own_is_an_error(
    named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named["USER"] = "owner"
    with pytest.raises(DatabaseNotReadyError, match="refused owner"):
        migrate_on(Database("web"), monkeypatch)
