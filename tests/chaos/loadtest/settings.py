"""The production settings with the app of the load tests."""

from mysite.settings.production import *  # noqa: F403
from mysite.settings.production import INSTALLED_APPS

INSTALLED_APPS.append("loadtest")
ROOT_URLCONF = "loadtest.urls"
