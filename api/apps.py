"""The application's entry in INSTALLED_APPS."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The API: /profile/, its description and errors."""

    name = "api"
