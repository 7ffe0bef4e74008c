"""Unit tests: fast and hermetic, whatever the machine's environment or `.env` says."""

import tempfile
from pathlib import Path

from .base import *  # noqa: F403

DEBUG = False

# A test's user needs no slow hash.
# https://docs.djangoproject.com/en/5.2/topics/testing/overview/#password-hashing
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Nothing is shared between processes, and nothing is sent.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
CELERY_BROKER_URL = "memory://"
CELERY_BROKER_TRANSPORT_OPTIONS = {}

# Never the site's own files, in a container either.
MEDIA_ROOT = Path(tempfile.gettempdir()) / "mysite-test-media"
PRIVATE_ROOT = Path(tempfile.gettempdir()) / "mysite-test-private"

# `manage.py test`; pytest alone does not read it.
TEST_RUNNER = "ops.test_runner.PytestRunner"
