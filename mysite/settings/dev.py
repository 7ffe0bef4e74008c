"""A shared development server: the production shape, with DEBUG on by default, e-mail printed."""

from .base import *  # noqa: F403
from .base import STORAGES

EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

STORAGES = {
    **STORAGES,
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}
