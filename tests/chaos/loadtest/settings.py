"""The production settings with the load tests' app."""

from mysite.settings.production import *  # noqa: F403
from mysite.settings.production import INSTALLED_APPS

INSTALLED_APPS.append("loadtest")
ROOT_URLCONF = "loadtest.urls"
