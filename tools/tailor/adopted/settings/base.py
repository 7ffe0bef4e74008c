"""Your settings are the base; the stack's replace what the stack decides (docs/adopt.md).

Change your own settings as ever. To change a value of the stack's, set it below.
"""

from ops import environment
from ops.environment.variable import ROOT
from ops.settings import adopted
from ops.settings.backing import cache_settings, file_storage
from ops.settings.policy import CONTENT_SECURITY_POLICY
from ops.settings.stack import *  # noqa: F403
from ops.settings.stack import env

# Your settings module of each layer.
YOURS = {
    "local": "project.settings",
    "dev": "project.settings",
    "production": "project.settings",
    "test": "project.settings",
}
# Variables that your settings read for values which the stack replaces: none has a meaning here.
UNUSED: tuple[str, ...] = ()

yours = adopted.load(YOURS, UNUSED, env)
globals().update(adopted.kept(yours, globals()))

ROOT_URLCONF = "mysite.urls"
PROJECT_URLCONF = yours["ROOT_URLCONF"]
WSGI_APPLICATION = "mysite.wsgi.application"
ASGI_APPLICATION = yours.get("ASGI_APPLICATION", "mysite.asgi.application")  # remove_asgi
# The dotted name of your Celery application, which then runs your tasks; empty: the stack's does.
CELERY_APP = ""

SECRET_KEY = env.str("DJANGO_SECRET_KEY")
SECRET_KEY_FALLBACKS = env.list("DJANGO_SECRET_KEY_FALLBACKS")
DEBUG = env.bool("DJANGO_DEBUG")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env.list("DJANGO_CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = adopted.apps(yours)
MIDDLEWARE = adopted.middleware(yours)
TEMPLATES = adopted.templates(yours, ROOT / "templates")
DATABASES = adopted.databases(yours, environment.database_settings(env))
CACHES = adopted.caches(yours, cache_settings(env)["default"])

STATIC_URL = env.str("STATIC_URL") or "/static/"
STATIC_ROOT = env.path("STATIC_ROOT")
MEDIA_URL = "/media/"
MEDIA_ROOT = env.path("MEDIA_ROOT")
FILE_STORAGE = file_storage(env)
STORAGES = adopted.storages(yours, FILE_STORAGE)

# POST requests to these URL names or paths count as sign-in attempts (THROTTLE_LOGIN).
THROTTLE_LOGIN_PATHS = ["login", "admin:login", "account_login", "wagtailadmin_login"]
# A project has some of them only.
SILENCED_SYSTEM_CHECKS = [*yours.get("SILENCED_SYSTEM_CHECKS", ()), "ops.W001"]

CONTENT_SECURITY_POLICY = yours.get("CONTENT_SECURITY_POLICY") or CONTENT_SECURITY_POLICY
# What pages under a path may load as well (docs/security.md). For example:
# "/map/": {"img-src": ["https://tiles.example.com"], "frame-src": ["'self'"]},
CONTENT_SECURITY_POLICY_PATHS: dict[str, dict[str, list[str]]] = {}

REST_FRAMEWORK = adopted.rest_framework(
    yours,
    {
        "anon": env.str("THROTTLE_ANON"),
        "user": env.str("THROTTLE_USER"),
        "login": env.str("THROTTLE_LOGIN"),
    },
)
