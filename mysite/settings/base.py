"""What holds in every layer. The stack's own values are in `ops.settings.stack`."""

from pathlib import Path
from typing import Any

from ops import environment
from ops.settings.backing import cache_settings, file_storage
from ops.settings.policy import CONTENT_SECURITY_POLICY  # noqa: F401 (a setting)
from ops.settings.stack import *  # noqa: F403
from ops.settings.stack import env

BASE_DIR = Path(__file__).resolve().parent.parent.parent

# Your variables: mysite/environment.py declares them. For example:
# SHOP_API_KEY = env.str("SHOP_API_KEY")

# https://docs.djangoproject.com/en/5.2/ref/settings/#core-settings
SECRET_KEY = env.str("DJANGO_SECRET_KEY")
SECRET_KEY_FALLBACKS = env.list("DJANGO_SECRET_KEY_FALLBACKS")
DEBUG = env.bool("DJANGO_DEBUG")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env.list("DJANGO_CSRF_TRUSTED_ORIGINS")
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
ASGI_APPLICATION = "mysite.asgi.application"  # remove_asgi
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    # Before the admin, which has templates of the same names (registration/).
    "accounts",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "django_structlog",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "ops",
    "api",
    "demo",  # remove_demo
]

MIDDLEWARE = [
    # First: a probe is answered whatever its Host header, never redirected and never logged.
    "ops.middleware.ProbeMiddleware",
    # As a probe, but on a port of its own; all else is counted.
    "ops.metrics.scrape.MetricsMiddleware",
    "ops.metrics.requests.CountRequests",
    "ops.logs.requests.LogRequests",
    "django.middleware.security.SecurityMiddleware",
    "ops.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    # Does nothing until LANGUAGES has a second one.
    "ops.languages.LanguageMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # After CSRF and sign-in: a form without its token is no attempt.
    "ops.login_throttle.LoginThrottleMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Last: the first to see what a view raises.
    "ops.middleware.DatabaseOutageMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# https://docs.djangoproject.com/en/5.2/ref/settings/#databases
DATABASES = {"default": environment.database_settings(env)}
CACHES = cache_settings(env)
# Where the visit counter is; empty: in the database.  # remove_demo
COUNTER_REDIS_URL = environment.redis_url(env, environment.COUNTER)  # remove_demo

# Periodic tasks: docs/tasks.md. Celery's other settings are in ops/settings/stack.py.
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {}

AUTH_USER_MODEL = "accounts.User"
# https://docs.djangoproject.com/en/5.2/ref/settings/#auth-password-validators
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
# POST requests to these URL names or paths count as sign-in attempts (THROTTLE_LOGIN).
THROTTLE_LOGIN_PATHS = ["login", "admin:login", "token", "password_reset"]

# What pages under a path may load as well (docs/security.md). For example:
# "/map/": {"img-src": ["https://tiles.example.com"], "frame-src": ["'self'"]},
CONTENT_SECURITY_POLICY_PATHS: dict[str, dict[str, list[str]]] = {}

LANGUAGE_CODE = env.str("DJANGO_LANGUAGE_CODE")
# The languages of your pages: with a second one, such as ("de", "Deutsch"), browsers choose.
LANGUAGES = [(LANGUAGE_CODE, LANGUAGE_CODE)]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = CELERY_TIMEZONE = env.str("DJANGO_TIME_ZONE")
USE_TZ = True
SILENCED_SYSTEM_CHECKS: list[str] = []

# https://docs.djangoproject.com/en/5.2/howto/static-files/
STATIC_URL = env.str("STATIC_URL") or "/static/"
STATIC_ROOT = env.path("STATIC_ROOT")
MEDIA_URL = "/media/"
MEDIA_ROOT = env.path("MEDIA_ROOT")
FILE_STORAGE = file_storage(env)
STORAGES: dict[str, dict[str, Any]] = {
    "default": FILE_STORAGE,
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

UPLOAD_MAX_MEGAPIXELS = env.int("UPLOAD_MAX_MEGAPIXELS")  # remove_demo
# https://www.django-rest-framework.org/api-guide/settings/
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "ops.parsers.JSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        # First: a 401 names it in WWW-Authenticate.
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["ops.throttling.AnonThrottle", "ops.throttling.UserThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "anon": env.str("THROTTLE_ANON"),
        "user": env.str("THROTTLE_USER"),
        "login": env.str("THROTTLE_LOGIN"),
    },
    # The client's address is REMOTE_ADDR, which nginx has made sure of; no header is believed.
    "NUM_PROXIES": 0,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}

# The API's own description. https://drf-spectacular.readthedocs.io/en/latest/settings.html
SPECTACULAR_SETTINGS = {
    "TITLE": "mysite",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/",
    "PREPROCESSING_HOOKS": ["ops.schema.public_paths"],
    # The page's scripts and styles come from this site.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},
    "COMPONENT_SPLIT_REQUEST": True,
    # An answer's fields are always there; clients may rely on that.
    "COMPONENT_NO_READ_ONLY_REQUIRED": False,
}
