"""A laptop: DEBUG, readable logs, the debug toolbar, SQLite unless the environment says else."""

from importlib.util import find_spec

from ops.settings.logs import logging_config

from .base import *  # noqa: F403
from .base import DEBUG, INSTALLED_APPS, LOG_LEVEL, MIDDLEWARE, TEMPLATES

LOGGING = logging_config(level=LOG_LEVEL, json=False)

# The cached loader keeps a template until the process ends; without it an edit shows at once.
# https://docs.djangoproject.com/en/5.2/ref/templates/api/#django.template.loaders.cached.Loader
for engine in TEMPLATES:
    if engine["BACKEND"].endswith(".DjangoTemplates") and engine.get("APP_DIRS"):
        engine["APP_DIRS"] = False
        engine["OPTIONS"]["loaders"] = [
            "django.template.loaders.filesystem.Loader",
            "django.template.loaders.app_directories.Loader",
        ]

# https://django-debug-toolbar.readthedocs.io/en/latest/installation.html
if find_spec("debug_toolbar") and "debug_toolbar" not in INSTALLED_APPS:
    INSTALLED_APPS.append("debug_toolbar")
    MIDDLEWARE.insert(2, "debug_toolbar.middleware.DebugToolbarMiddleware")
    # The status page requests these every second; they would push all else out of the toolbar.
    POLLED = ("/profile/", "/status/report/")
    # In a container the browser's address is the gateway's, so it cannot be listed beforehand.
    DEBUG_TOOLBAR_CONFIG = {
        "SHOW_TOOLBAR_CALLBACK": lambda request: DEBUG and request.path not in POLLED,
        "SHOW_COLLAPSED": True,
    }
