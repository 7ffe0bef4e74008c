"""What this process runs with: settings layer, server, release, versions."""

import os
import platform
import socket

import django
from django.conf import ENVIRONMENT_VARIABLE, settings

from ops import VERSION

# Read once: a process keeps them, and each takes as long as the rest of a response.
HOSTNAME = socket.gethostname()
DJANGO, PYTHON = django.get_version(), platform.python_version()


def active_profile() -> dict[str, str | bool]:
    """Return every field of the profile, which are those that PROFILE_FIELDS may name.

    None of them is a secret.
    """
    return {
        # Not settings.SETTINGS_MODULE, which is None while a test overrides a setting.
        "settings": os.environ[ENVIRONMENT_VARIABLE].rpartition(".")[2],
        "server": settings.PROFILE,
        "release": settings.RELEASE,
        "stack": VERSION,
        "hostname": HOSTNAME,
        "django": DJANGO,
        "python": PYTHON,
        "debug": settings.DEBUG,
    }


def public_profile() -> dict[str, str | bool]:
    """Return the fields that the operator shows to everyone (PROFILE_FIELDS)."""
    return {
        name: value for name, value in active_profile().items() if name in settings.PROFILE_FIELDS
    }
