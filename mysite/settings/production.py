"""Production: DEBUG cannot be on, HTTPS, hashed static names, secrets required."""

from .base import *  # noqa: F403
from .base import SILENCED_SYSTEM_CHECKS, STORAGES, env

# The environment check refuses DJANGO_DEBUG=true; this line holds even without it.
DEBUG = False

# Names with a hash of the content may be cached for ever.
# https://docs.djangoproject.com/en/5.2/ref/contrib/staticfiles/#manifeststaticfilesstorage
STORAGES = {
    **STORAGES,
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}

# https://docs.djangoproject.com/en/5.2/topics/security/#ssl-https
SECURE_SSL_REDIRECT = env.bool("DJANGO_SECURE_SSL_REDIRECT")
# Served over http too, as the probes are, which the redirect does not see (ops/middleware.py).
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
SECURE_HSTS_SECONDS = env.int("DJANGO_HSTS_SECONDS")
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("DJANGO_HSTS_INCLUDE_SUBDOMAINS")
SECURE_HSTS_PRELOAD = env.bool("DJANGO_HSTS_PRELOAD")
# Django recommends both; they also bind subdomains that this site knows nothing of.
SILENCED_SYSTEM_CHECKS = [*SILENCED_SYSTEM_CHECKS, "security.W005", "security.W021"]
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
