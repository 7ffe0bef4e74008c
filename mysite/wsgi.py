"""The WSGI application that uWSGI loads."""

import os
from importlib import import_module

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

from ops import environment

environment.read_dotenv()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.local")

application = get_wsgi_application()

# Every view now rather than with the first request: a mistake in one keeps the server from
# starting, instead of becoming a visitor's error, and no visitor waits for the imports.
import_module(settings.ROOT_URLCONF)

if settings.BUILDING:
    raise ImproperlyConfigured(
        "DJANGO_BUILD is set: it replaces secrets by throw-away values, for image builds "
        "only. Remove it from the server's environment."
    )
