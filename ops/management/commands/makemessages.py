"""Django's makemessages; without this it may write new texts where compiled translations are."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.commands import makemessages


class Command(makemessages.Command):
    """Write texts to the folders of the project alone."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Leave the folder of compiled translations out, then do as Django does."""
        settings.LOCALE_PATHS = [
            path
            for path in settings.LOCALE_PATHS
            if not Path(path).is_relative_to(settings.MESSAGES_ROOT)
        ]
        super().handle(*args, **options)
