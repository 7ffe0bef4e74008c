"""The production settings with Channels and the streams' pages."""

from mysite.settings.production import *  # noqa: F403
from mysite.settings.production import INSTALLED_APPS

INSTALLED_APPS.append("channels")
ASGI_APPLICATION = "streams.asgi.application"
ROOT_URLCONF = "streams.urls"
