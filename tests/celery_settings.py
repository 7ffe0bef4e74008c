"""The project's Celery settings, for an application of a test's own."""

from typing import Any

from django.conf import settings

from ops.settings.backing import broker_defaults

PREFIX = "CELERY_"


def celery_settings(**changes: Any) -> dict[str, Any]:
    """Return the settings by Celery's own names, with these changes.

    Args:
        changes: other values, such as broker_url.
    """
    names = [name for name in dir(settings) if name.startswith(PREFIX)]
    ours = {name.removeprefix(PREFIX).lower(): getattr(settings, name) for name in names} | changes
    return broker_defaults(ours["broker_url"]) | ours
