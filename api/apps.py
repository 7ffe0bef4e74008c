"""The application's entry in INSTALLED_APPS."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The api app."""

    name = "api"

    def ready(self) -> None:
        """Connect the signals."""
        from api import job_log, login_throttle, request_log, tokens  # noqa: F401
        from api.metrics import scrape  # noqa: F401
        from api.uploads import removal  # noqa: F401
