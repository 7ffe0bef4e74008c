"""Create the first superuser from DJANGO_SUPERUSER_*, as `migrate_with_lock` does."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ops import environment
from ops.superuser import SuperuserRefusedError, ensure_superuser


class Command(BaseCommand):
    """Create it, unless there is a superuser."""

    help = "Creates the first superuser from DJANGO_SUPERUSER_*, unless there is a superuser."

    def handle(self, *args: Any, **options: Any) -> None:
        """Create it, and print its name.

        Raises:
            CommandError: it cannot be created.
        """
        try:
            name = ensure_superuser(environment.load())
        except SuperuserRefusedError as reason:
            raise CommandError(str(reason)) from None
        self.stdout.write(f"created the superuser {name}" if name else "no superuser was created")
