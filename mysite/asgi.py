"""The ASGI application, which the servers load where APP_SERVER is asgi."""

import os
from importlib import import_module

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

from ops import environment

environment.read_dotenv()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.local")

application = get_asgi_application()

# As in wsgi.py: a mistake in a view keeps the server from starting.
import_module(settings.ROOT_URLCONF)

if settings.BUILDING:
    raise ImproperlyConfigured(
        "DJANGO_BUILD is set: it replaces secrets by throw-away values, for image builds "
        "only. Remove it from the server's environment."
    )
