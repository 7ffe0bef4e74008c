"""`./manage.py seed`: example data for a laptop or a test stack, from each app's seed.py."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError, transaction
from django.utils.module_loading import module_has_submodule

from ops.profile import active_profile

MODULE = "seed"


class Command(BaseCommand):
    """Calls `seed()` of each installed app's seed.py, in the order of INSTALLED_APPS."""

    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the apps, and the consent that production needs."""
        parser.add_argument("apps", nargs="*", metavar="APP", help="default: every app with one")
        parser.add_argument("--force", action="store_true", help="also in production")

    def handle(self, *args: Any, **options: Any) -> None:
        """Seed each app in a transaction of its own; the first that fails ends the command.

        Raises:
            CommandError: in production without --force, there is nothing to call, or the database
                refuses it.
        """
        if active_profile()["settings"] == "production" and not options["force"]:
            raise CommandError(
                "seed writes example data, and this is production. Use --force if you want them "
                "there, or a data migration for data that every site needs."
            )
        seeds = found(options["apps"])
        if not seeds:
            raise CommandError(
                "no app has a seed.py. Write one with a function `seed`, such as shop/seed.py "
                "(docs/your-app.md#seed-data)."
            )
        for label, seed in seeds.items():
            try:
                with transaction.atomic():
                    result = seed()
            except (OperationalError, ProgrammingError) as error:
                raise CommandError(
                    f"{label}: {error}. If a table is missing, run ./manage.py migrate first."
                ) from error
            words = f": {result}" if result else ""
            self.stdout.write(f"{label}{words}")


def found(labels: list[str]) -> dict[str, Callable[[], object]]:
    """Return the function of each app that has one, by the app's label.

    Args:
        labels: the apps; none for all.

    Raises:
        CommandError: one of them does not exist or has none, or a seed.py has no function `seed`.
    """
    seeds = {}
    for config in apps.get_app_configs():
        if config.module and module_has_submodule(config.module, MODULE):
            module = import_module(f"{config.name}.{MODULE}")
            if not callable(getattr(module, MODULE, None)):
                raise CommandError(f"{config.name}/seed.py has no function `seed`.")
            seeds[config.label] = module.seed
    if unknown := [label for label in labels if label not in seeds]:
        having = ", ".join(seeds) or "none"
        raise CommandError(f"no seed.py in {', '.join(unknown)}. Apps that have one: {having}.")
    return {label: seed for label, seed in seeds.items() if not labels or label in labels}
