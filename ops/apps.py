"""The stack's entry in INSTALLED_APPS."""

from django.apps import AppConfig


class OpsConfig(AppConfig):
    """What the stack needs of Django: health, metrics, logs, worker, database, settings values."""

    name = "ops"

    def ready(self) -> None:
        """Connect the signals, the translations, and the Celery application that tasks use."""
        from ops import celery, login_throttle, messages, registry  # noqa: F401
        from ops.health import checks  # noqa: F401
        from ops.logs import requests, tasks  # noqa: F401
        from ops.metrics import scrape  # noqa: F401
        from ops.tasks import rows, schedule
        from ops.worker import parking

        messages.use_compiled()
        registry.add_periodic_work("the search for parked tasks", 5, parking.send_known)
        registry.add_periodic_work("the sending of due tasks", 2, rows.send_due)
        registry.add_periodic_work("the sending of periodic tasks", 1, schedule.send_due)
        registry.add_periodic_work("the search for lost tasks", 5, rows.recover)
        registry.add_periodic_work("the removal of old tasks", 3600, rows.forget_old)
