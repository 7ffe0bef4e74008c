"""The app's entry in INSTALLED_APPS."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """The accounts app."""

    name = "accounts"
    # As in django.contrib.auth, whose tables the user model keeps: foreign keys are of this type.
    default_auto_field = "django.db.models.AutoField"

    def ready(self) -> None:
        """Connect the signals."""
        from accounts import signals  # noqa: F401
