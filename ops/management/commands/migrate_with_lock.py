"""Migrate once, also if several containers start at the same time."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from ops import environment
from ops.database.lock_waits import LockNotFreeError, short_lock_waits
from ops.database.locks import exclusive_lock
from ops.database.migration_login import wait_as_migration_user
from ops.database.outage import DatabaseNotReadyError
from ops.database.unmigrated import own_apps_without_migration
from ops.superuser import SuperuserRefusedError, ensure_superuser

# The exit code when a lock was in the way; tools/stackctl/releases/migrate.py knows it too.
LOCK_NOT_FREE = 75


class Command(BaseCommand):
    """Wait for the database, take the lock, migrate."""

    help = "Waits for the database, then migrates while holding a lock, so that one process does."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare --wait and --lock-timeout."""
        parser.add_argument(
            "--wait",
            type=float,
            default=settings.DB_WAIT_SECONDS,
            metavar="SECONDS",
            help="how long to wait for the database (default: DB_WAIT_SECONDS, %(default)s)",
        )
        parser.add_argument(
            "--lock-timeout",
            type=float,
            default=600,
            metavar="SECONDS",
            help="how long to wait for another process that is migrating (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate, with one clear message when the database cannot be used.

        Raises:
            CommandError: a lock was not free in time (exit code LOCK_NOT_FREE), the database is not
                ready, or the superuser cannot be created.
        """
        # They bound a web request; changing a large table may well take longer.
        connection.settings_dict.update(environment.without_time_limits(connection.settings_dict))
        try:
            wait_as_migration_user(connection, options["wait"], self.say)
            with exclusive_lock(connection, "migrate", options["lock_timeout"], self.say):
                patience = settings.DB_LOCK_WAIT_SECONDS
                with short_lock_waits(connection, patience, self.say) as migrate:
                    migrate(lambda: self.migrate(options["verbosity"]))
        except LockNotFreeError as reason:
            raise CommandError(str(reason), returncode=LOCK_NOT_FREE) from None
        except (DatabaseNotReadyError, SuperuserRefusedError) as reason:
            raise CommandError(str(reason)) from None

    def migrate(self, verbosity: int) -> None:
        """Migrate, and make what else the site needs in its database.

        Args:
            verbosity: Django's, from 0 to 3.

        Raises:
            SuperuserRefusedError: the first superuser cannot be created.
        """
        call_command("migrate", interactive=False, verbosity=verbosity)
        for app in own_apps_without_migration():
            self.say(
                f"the models of {app} have changes that no migration has: run "
                f"./manage.py makemigrations {app}, commit the new file, and migrate again"
            )
        # The cache's table, where the database is the cache; else nothing.
        call_command("createcachetable", verbosity=verbosity)
        if made := ensure_superuser(environment.load()):
            self.say(f"created the first superuser, {made}")

    def say(self, line: str) -> None:
        """Print a line at once; ./stackctl deploy shows the lines that begin so."""
        # Behind `Applying ...`, whose line has no end yet.
        self.stdout.write(f"\nmigrate: {line}")
        self.stdout.flush()
