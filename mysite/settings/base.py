"""What holds in every layer."""

import logging
from pathlib import Path
from typing import Any

from ops import environment
from ops.settings.backing import (
    broker_settings,
    bucket_options,
    cache_settings,
    file_storage,
)
from ops.settings.errors import report_errors
from ops.settings.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent.parent

env = environment.load()
# True while an image is built: no secrets, no database, never a server (see mysite/wsgi.py).
BUILDING = env.building

# https://docs.djangoproject.com/en/5.2/ref/settings/#core-settings
SECRET_KEY = env.str("DJANGO_SECRET_KEY")
SECRET_KEY_FALLBACKS = env.list("DJANGO_SECRET_KEY_FALLBACKS")
DEBUG = env.bool("DJANGO_DEBUG")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env.list("DJANGO_CSRF_TRUSTED_ORIGINS")
# The load balancer ends TLS; it sets this header itself and drops the client's.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
ROOT_URLCONF = "mysite.urls"
CSRF_FAILURE_VIEW = "ops.errors.csrf_failure"
WSGI_APPLICATION = "mysite.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Which server answers, and with what: shown by /profile/.
PROFILE = env.str("PROFILE")
RELEASE = env.str("RELEASE")
PROFILE_FIELDS = env.list("PROFILE_FIELDS")

# The servers behind the load balancer, each name=host:port; none: this one alone.
SERVERS = env.list("SERVERS")

# The port of `make run`.
RUN_PORT = env.int("RUN_PORT")

# While this file exists /readyz answers 404, so that load balancers send nothing new.
DRAIN_FILE = env.path("DRAIN_FILE")

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
    "django_structlog.middlewares.RequestMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "ops.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
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
# How long a command waits for a database that is not up yet.
DB_WAIT_SECONDS = env.int("DB_WAIT_SECONDS")
# How long a migration tries to get a lock, a second at a time (ops/database/lock_waits.py).
DB_LOCK_WAIT_SECONDS = env.int("DB_LOCK_WAIT_SECONDS")

CACHES = cache_settings(env)
# Where the visit counter is; empty: in the database.  # remove_demo
COUNTER_REDIS_URL = environment.redis_url(env, environment.COUNTER)  # remove_demo

# Tasks. https://docs.celeryq.dev/en/stable/userguide/configuration.html
BROKER_FOLDER = BASE_DIR / "var" / "broker"
CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = broker_settings(env, BROKER_FOLDER)
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# The worker command sets its own.
CELERY_BROKER_HEARTBEAT = 0
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.1}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
# A task keeps what it found in a table of its own.
CELERY_TASK_IGNORE_RESULT = True
# A task whose worker is killed runs again: its message stays until the task has ended.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# A task that this release does not know is kept for one that does.
CELERY_WORKER_CONSUMER = "ops.worker.parking:TaskConsumer"
# SoftTimeLimitExceeded is raised in a task after the first; after the second its process is killed.
CELERY_TASK_SOFT_TIME_LIMIT = env.int("TASK_SECONDS")
CELERY_TASK_TIME_LIMIT = CELERY_TASK_SOFT_TIME_LIMIT + 5
CELERY_WORKER_MAX_TASKS_PER_CHILD = 500
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 400_000
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = env.str("DJANGO_TIME_ZONE")
# Periodic tasks: docs/tasks.md.
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {}
WORKER_CONCURRENCY = env.int("WORKER_CONCURRENCY")
WORKER_HEARTBEAT_FILE = env.path("WORKER_HEARTBEAT_FILE")

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

# Static files in a bucket, where servers share no disk: each server brings its own release's there,
# and pages load them from STATIC_URL.
STATIC_BUCKET = bucket_options(env, env.str("AWS_STATIC_BUCKET_NAME"))
STATIC_ELSEWHERE = [env.str("STATIC_URL")] if STATIC_BUCKET else []

# A page loads from this site alone, and runs nothing that stands in the page itself. Where static
# files are elsewhere, that folder counts as this site. Where uploads are kept elsewhere, `ops.csp`
# adds that place for images.
# https://django-csp.readthedocs.io/en/latest/configuration.html
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'", *STATIC_ELSEWHERE],
        "style-src": ["'self'", *STATIC_ELSEWHERE],
        # The admin's stylesheets carry some of its images in them.
        "img-src": ["'self'", "data:", *STATIC_ELSEWHERE],
        # No page has a font of this site's own so far.
        **({"font-src": STATIC_ELSEWHERE} if STATIC_ELSEWHERE else {}),
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    },
}

LANGUAGE_CODE = env.str("DJANGO_LANGUAGE_CODE")
TIME_ZONE = env.str("DJANGO_TIME_ZONE")
USE_TZ = True

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

UPLOAD_MAX_MB = env.int("UPLOAD_MAX_MB")
UPLOAD_MAX_MEGAPIXELS = env.int("UPLOAD_MAX_MEGAPIXELS")  # remove_demo
# In memory while its request lasts: a process that is killed would leave a temporary file.
FILE_UPLOAD_MAX_MEMORY_SIZE = (UPLOAD_MAX_MB + 1) * 2**20

# https://www.django-rest-framework.org/api-guide/settings/
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "ops.parsers.JSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        # First: it is what an answer 401 tells a client to use.
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
    # An answer's fields are always there; whoever reads it may rely on that.
    "COMPONENT_NO_READ_ONLY_REQUIRED": False,
}

# In the unit tests' layer nothing is sent.
report_errors(
    env.str("SENTRY_DSN") if env.layer != "test" else "",
    environment=env.layer,
    release=RELEASE,
    server=PROFILE,
)

LOG_LEVEL = env.str("DJANGO_LOG_LEVEL")
LOGGING = logging_config(level=LOG_LEVEL, json=True)
# https://django-structlog.readthedocs.io/en/latest/configuration.html
# One line a request, at its end; nginx and HAProxy log its start time and duration.
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
# `ops.logs.requests` adds both, without a query or a look at forgeable headers.
DJANGO_STRUCTLOG_USER_ID_FIELD = None
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
# nginx checks the id, or makes one; it never takes a client's as it is.
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True
# A job's lines carry the id of the request that caused it; one line a job, at its end.
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_CELERY_TASK_START_LOG_LEVEL = logging.DEBUG
