"""The project's Celery application, for `celery -A mysite inspect active`."""

import os

from ops import environment

environment.read_dotenv()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.local")

from ops.celery import app  # noqa: E402  (it reads the settings)

__all__ = ["app"]
