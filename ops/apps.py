"""The stack's entry in INSTALLED_APPS."""

import gc
import os
from typing import Any

from django.apps import AppConfig
from django.conf import settings

from ops import messages


class OpsConfig(AppConfig):
    """What the stack needs of Django: health, metrics, logs, worker, database, settings values."""

    name = "ops"
    # Whatever the project's default is: the migrations have this type.
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: Any) -> None:
        """Set the translations' folders, which models may need while they load."""
        super().__init__(app_name, app_module)
        messages.use_compiled()

    def ready(self) -> None:
        """Connect the signals, and the Celery application that tasks use; compile translations."""
        from ops import backups, celery, dotted_names, login_throttle, mail, registry  # noqa: F401
        from ops.database import limits
        from ops.health import checks  # noqa: F401
        from ops.logs import requests, tasks  # noqa: F401
        from ops.metrics import scrape  # noqa: F401
        from ops.tasks import checks as schedule_checks  # noqa: F401
        from ops.tasks import rows, schedule
        from ops.worker import parking, sessions

        # A collection of garbage would have each worker copy what it shares.
        # https://docs.python.org/3/library/gc.html#gc.freeze
        os.register_at_fork(before=gc.freeze)
        limits.lift_in_commands()
        requests.complete_lines()
        # Now, if no model needed them, instead of with the first request.
        list(settings.LOCALE_PATHS)
        registry.add_periodic_work("the search for parked tasks", 5, parking.send_known)
        registry.add_periodic_work("the sending of due tasks", 2, rows.send_due)
        registry.add_periodic_work("the sending of periodic tasks", 1, schedule.send_due)
        registry.add_periodic_work("the search for lost tasks", 5, rows.recover)
        registry.add_periodic_work("the removal of old tasks", 3600, rows.forget_old)
        registry.add_periodic_work("the removal of old mails", 3600, mail.forget_old)
        registry.add_periodic_work("the removal of ended sessions", 3600, sessions.remove_ended)
        registry.add_worker_metrics(backups.Backups())
        registry.add_periodic_work(
            "the watch for backups", backups.CHECK_SECONDS, backups.Watch().check
        )
