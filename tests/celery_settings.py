"""The project's Celery settings, for a test's own Celery application."""

from typing import Any

from ops.celery import configuration
from ops.settings.backing import broker_defaults


def celery_settings(**changes: Any) -> dict[str, Any]:
    """Return the settings under Celery's names, with these changes.

    Args:
        changes: other values, such as broker_url.
    """
    ours = configuration() | changes
    return broker_defaults(ours["broker_url"]) | ours
