"""The demo's entry in INSTALLED_APPS."""

from django.apps import AppConfig

from ops import registry


class DemoConfig(AppConfig):
    """The demo: uploads with thumbnails and a visit counter."""

    name = "demo"

    def ready(self) -> None:
        """Connect the signals, and add the demo's parts to the stack."""
        from demo import intake, status
        from demo.metrics import Uploads
        from demo.uploads import removal  # noqa: F401

        registry.add_worker_metrics(Uploads())
        registry.add_periodic_work("the removal of refused uploads", 60, intake.remove_refused)
        registry.add_card(status.UPLOADS)
        registry.add_card(status.VISITS)
