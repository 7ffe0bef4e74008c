"""Migrates a database from Django's user model to the project's, rolls back, migrates again.

Runs on the empty database of mysite.settings.test, and empties it at the end: tests/unit uses
SQLite, tests/stack MySQL and PostgreSQL. Each step is its own process.
"""

import subprocess
import sys
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import django
from django.conf import settings

PASSWORD = "a-good-pass-phrase-7"
RIGHTS = ("change_user", "view_user")


def fill() -> None:
    """Create rows of every kind that refer to a user, in the earlier release."""
    from django.contrib.admin.models import CHANGE, LogEntry
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group, Permission
    from django.contrib.contenttypes.models import ContentType
    from rest_framework.authtoken.models import Token

    users = get_user_model()
    editor = users.objects.create_user("editor", "editor@example.com", PASSWORD, is_staff=True)
    change, view = (Permission.objects.get(codename=codename) for codename in RIGHTS)
    editor.user_permissions.add(change)
    group = Group.objects.create(name="viewers")
    group.permissions.add(view)
    editor.groups.add(group)
    Token.objects.create(user=editor)
    LogEntry.objects.create(
        user=editor,
        content_type=ContentType.objects.get_for_model(users),
        object_id=editor.pk,
        object_repr="editor",
        action_flag=CHANGE,
    )


def check(label: str) -> None:
    """Check that all of these rows are kept."""
    from django.contrib.admin.models import LogEntry
    from django.contrib.auth import authenticate, get_user_model
    from rest_framework.authtoken.models import Token

    editor = get_user_model().objects.get(username="editor")
    assert authenticate(username="editor", password=PASSWORD) == editor
    assert [group.name for group in editor.groups.all()] == ["viewers"]
    assert Token.objects.get().user == editor
    assert LogEntry.objects.get().user == editor
    if label == "accounts":
        assert {f"{label}.{codename}" for codename in RIGHTS} == editor.get_all_permissions()
        assert LogEntry.objects.get().get_edited_object() == editor
    # Foreign keys to and from a new row work.
    other = get_user_model().objects.create_user("other")
    Token.objects.create(user=other)
    other.delete()


def check_migration_gate() -> None:
    """Check that the migration gate of `stackctl deploy` reports no error and no warning."""
    from tools.stackctl.inside import migrations as gate

    plan = gate.state()
    assert plan["unapplied"] == ["accounts.0001_initial"]
    assert gate.lint(**plan) == {"errors": {}, "warnings": {}}


def tables() -> str:
    """Return all tables as models, regardless of the order of columns."""
    from django.core.management import call_command

    output = StringIO()
    call_command("inspectdb", stdout=output)
    models = output.getvalue().split("\nclass ")
    return "\nclass ".join("\n".join(sorted(model.splitlines())) for model in models)


def empty() -> None:
    """Drop all tables."""
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        elif connection.vendor == "mysql":
            name = connection.ops.quote_name(connection.settings_dict["NAME"])
            cursor.execute(f"DROP DATABASE {name}")
            cursor.execute(f"CREATE DATABASE {name}")
        else:
            connection.close()
            Path(connection.settings_dict["NAME"]).unlink()


def step(name: str) -> None:
    """Run one step with the user model of its release."""
    label = "auth" if name in ("earlier", "rollback") else "accounts"
    if label == "auth":
        settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "accounts"]
        settings.AUTH_USER_MODEL = "auth.User"
        settings.SILENCED_SYSTEM_CHECKS = ["urls.E007"]
        settings.ROOT_URLCONF = __name__
    django.setup()
    from django.core.management import call_command

    # Installed in the image, not in .venv.
    if name == "update" and find_spec("django_migration_linter"):
        check_migration_gate()
    call_command("migrate", verbosity=0)
    if name == "earlier":
        fill()
    if name != "new":
        check(label)
    print(tables())
    if name in ("again", "new"):
        empty()


def main() -> None:
    """Run all steps, and compare the tables with those of a new database."""
    tables_after: dict[str, str] = {}
    for name in ("earlier", "update", "rollback", "again", "new"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.adopted_users", name],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        tables_after[name] = done.stdout
    assert "AuthUserUserPermissions(models.Model)" in tables_after["new"]
    for name, text in tables_after.items():
        assert text == tables_after["new"], (name, text, tables_after["new"])
    print("the users were adopted")


urlpatterns: list[Any] = []
if __name__ == "__main__":
    step(sys.argv[1]) if sys.argv[1:] else main()
