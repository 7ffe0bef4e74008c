"""Django's migrate, for databases that began with Django's own user model."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import migrate
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from ops.database.migration_login import wait_as_migration_user


class Command(migrate.Command):
    """Adopt the users first."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate as Django does.

        Raises:
            DatabaseNotReadyError: the database refused a user, or did not answer in time.
        """
        connection = connections[options["database"]]
        # Not for the tests' database, which belongs to the application's user.
        if self._called_from_command_line and connection.alias == DEFAULT_DB_ALIAS:
            wait_as_migration_user(connection, settings.DB_WAIT_SECONDS, self.stderr.write)
        adopt_users(connection)
        super().handle(*args, **options)


def adopt_users(connection: BaseDatabaseWrapper) -> None:
    """Record the user model's first migration as applied where Django's own made its tables.

    No migration can do that: Django's admin depends on that first one, so where the admin's is
    applied and that is not, migrate raises InconsistentMigrationHistory before it runs any.
    """
    users = get_user_model()._meta
    if users.db_table != "auth_user" or users.app_label == "auth":
        return
    recorder = MigrationRecorder(connection)
    applied = recorder.applied_migrations()
    first = MigrationLoader(connection).graph.root_nodes(users.app_label)[0]
    if ("admin", "0001_initial") not in applied or first in applied:
        return
    with transaction.atomic(using=connection.alias):
        recorder.record_applied(*first)
        # Permissions and the admin's log refer to it.
        ContentType.objects.using(connection.alias).filter(app_label="auth", model="user").update(
            app_label=users.app_label, model=users.model_name
        )
    ContentType.objects.clear_cache()
