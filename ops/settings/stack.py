"""What the stack decides in every layer. mysite/settings/ can override a value."""

import logging
import os
from pathlib import Path

from ops import environment
from ops.environment import variable
from ops.settings.backing import broker_settings, bucket_options
from ops.settings.errors import report_errors
from ops.settings.logs import logging_config
from ops.settings.mail import delivery, own_mail_settings

env = environment.load()
# True while an image is built: no secrets, no database (see ops/startup.py).
BUILDING = env.building

# The folder of the project's own code.
SOURCE_ROOT = Path(os.environ.get("SOURCE_ROOT") or variable.ROOT)

# Files that no web server serves; servers and workers share them (docs/your-app.md).
PRIVATE_ROOT = env.path("PRIVATE_ROOT")

# Compiled translations (ops/messages.py). Elsewhere the images have them.
MESSAGES_ROOT = env.path("MESSAGES_ROOT")
COMPILE_MESSAGES = env.building or env.layer in ("local", "test")

# Which server answers, and with what: shown by /profile/.
PROFILE = env.str("PROFILE")
RELEASE = env.str("RELEASE")
PROFILE_FIELDS = env.list("PROFILE_FIELDS")

# The servers behind docker compose's load balancer, each name=host:port; none: this one alone.
SERVERS = [f"set{n}=server{n}:7999" for n in range(1, int(env.str("SERVER_COUNT") or 0) + 1)]

# The port of `make run`, and how long a request may take there.
RUN_PORT = env.int("RUN_PORT")
REQUEST_SECONDS = env.int("REQUEST_SECONDS")

# While this file exists /readyz answers 404, so that load balancers send nothing new.
DRAIN_FILE = env.path("DRAIN_FILE")

# The load balancer ends TLS; it sets this header itself and drops the client's.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CSRF_FAILURE_VIEW = "ops.errors.csrf_failure"
# Whether browsers enforce CONTENT_SECURITY_POLICY (ops/csp.py).
CSP_MODE = env.str("CSP_MODE")

# How long a command waits for a database that is not up yet.
DB_WAIT_SECONDS = env.int("DB_WAIT_SECONDS")
# How long a migration tries to get a lock, a second at a time (ops/database/lock_waits.py).
DB_LOCK_WAIT_SECONDS = env.int("DB_LOCK_WAIT_SECONDS")

# Tasks. https://docs.celeryq.dev/en/stable/userguide/configuration.html
BROKER_FOLDER = variable.ROOT / "var" / "broker"
CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = broker_settings(env, BROKER_FOLDER)
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# The worker command sets its own.
CELERY_BROKER_HEARTBEAT = 0
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.1}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
# A task keeps its result in a table of its own.
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
WORKER_CONCURRENCY = env.int("WORKER_CONCURRENCY")
WORKER_HEARTBEAT_FILE = env.path("WORKER_HEARTBEAT_FILE")

# Static files in a bucket, where servers share no disk: each server brings its own release's there,
# and pages load them from STATIC_URL.
STATIC_BUCKET = bucket_options(env, env.str("AWS_STATIC_BUCKET_NAME"))
STATIC_ELSEWHERE = [env.str("STATIC_URL")] if STATIC_BUCKET else []

UPLOAD_MAX_MB = env.int("UPLOAD_MAX_MB")
# A small file is in memory while its request runs, a larger one on disk.
FILE_UPLOAD_HANDLERS = ["ops.uploads.UploadHandler"]
FILE_UPLOAD_TEMP_DIR = env.str("UPLOAD_TEMP_DIR") or None
# Forms without their files, and JSON (ops/parsers.py): in memory, whatever a file may have.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 2**20

# All mails are written to the database; the worker sends them by MAIL_BACKEND (ops/mail.py).
EMAIL_BACKEND = "ops.mail.QueuedBackend"
_mail = delivery(env)
MAIL_BACKEND = _mail["backend"]
EMAIL_HOST, EMAIL_PORT = _mail["host"], _mail["port"]
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["user"], _mail["password"]
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail["starttls"], _mail["tls"]
EMAIL_TIMEOUT = env.int("EMAIL_TIMEOUT")
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("DEFAULT_FROM_EMAIL") or "webmaster@localhost"
ADMINS = [(address, address) for address in env.list("ADMINS")]
# Whether /status/mails/ shows what was sent: on a laptop, and only there.
SHOW_MAILS = env.layer == "local" and not env.str("EMAIL_URL")
# Whether an adopted project's own mail settings apply (ops/settings/adopted.py).
OWN_MAIL_SETTINGS = own_mail_settings(env)

# In the unit tests' layer nothing is sent.
report_errors(
    env.str("SENTRY_DSN") if env.layer != "test" else "",
    environment=env.layer,
    release=RELEASE,
    server=PROFILE,
)

LOG_LEVEL = env.str("DJANGO_LOG_LEVEL")
LOGGING = logging_config(level=LOG_LEVEL, json=True, mail_admins=bool(ADMINS))
# https://django-structlog.readthedocs.io/en/latest/configuration.html
# One line a request, at its end; nginx and HAProxy log its start time and duration.
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
# `ops.logs.requests` adds both, without a query and without forgeable headers.
DJANGO_STRUCTLOG_USER_ID_FIELD = None
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
# nginx checks the id, or makes one; it never takes a client's as it is.
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True
# A job's lines carry the id of the request that caused it; one line a job, at its end.
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_CELERY_TASK_START_LOG_LEVEL = logging.DEBUG
