"""The application's entry in INSTALLED_APPS."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The API: /profile/, its description, token and errors."""

    name = "api"

    def ready(self) -> None:
        """Connect the signals."""
        from api import tokens  # noqa: F401
