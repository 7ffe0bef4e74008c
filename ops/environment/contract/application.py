"""The application's own variables: its layer, Django, limits, monitoring."""

from __future__ import annotations

from typing import Final

from ops.environment import slow_paths, validators
from ops.environment.variable import SHARED, Kind, Scope, Section, Variable

from .samples import SAMPLE_SECRET_KEY

# What /profile/ can show; see PROFILE_FIELDS.
PROFILE_FIELDS: Final = (
    "settings",
    "server",
    "release",
    "stack",
    "hostname",
    "django",
    "python",
    "debug",
)

LAYER: Final = Section(
    "Layer",
    "The settings layer, and this server's name.",
    (
        Variable(
            name="LAYER",
            kind=Kind.CHOICE,
            help="The layer whose images docker compose runs.",
            choices=("local", "dev", "production"),
            default="local",
            scope=Scope.STACK,
        ),
        Variable(
            name="STACK_NAME",
            help="Prefix of the names of images, containers and volumes. Each clone needs its own.",
            default="mysite",
            scope=Scope.STACK,
            validate=validators.stack_name,
        ),
        Variable(
            name="DJANGO_SETTINGS_MODULE",
            help="The settings module. Each image sets its layer's.",
            default="mysite.settings.local",
            validate=validators.module,
        ),
        Variable(
            name="PROFILE",
            help="This server's name, shown by /profile/ (set1, set2).",
            default="standalone",
            validate=validators.label,
        ),
        Variable(
            name="RELEASE",
            help="The release that runs, shown by /profile/.",
            default="unreleased",
            validate=validators.label,
        ),
        Variable(
            name="CONTAINER_COMMAND",
            kind=Kind.CHOICE,
            help="What a container runs where only variables can be set (Elastic Beanstalk).",
            choices=("serve", "worker"),
            default="serve",
        ),
    ),
)

DJANGO: Final = Section(
    "Django",
    "Variables of the Django application.",
    (
        Variable(
            name="DJANGO_SECRET_KEY",
            help="Signs sessions and tokens; at least 50 random characters.",
            layer_defaults={"local": SAMPLE_SECRET_KEY, "test": SAMPLE_SECRET_KEY},
            sample=SAMPLE_SECRET_KEY,
            required_in=SHARED,
            secret=True,
            generated=True,
        ),
        Variable(
            name="DJANGO_SECRET_KEY_FALLBACKS",
            kind=Kind.LIST,
            help="Former keys, the latest first: what they signed is still accepted, so that "
            "users stay signed in. `./stackctl rotate secret-key` writes them.",
            secret=True,
        ),
        Variable(
            name="DJANGO_ALLOWED_HOSTS",
            kind=Kind.LIST,
            help="Host names that the site answers to.",
            layer_defaults={
                "local": "localhost,127.0.0.1,[::1]",
                "test": "localhost,127.0.0.1,[::1]",
            },
            required_in=SHARED,
            validate=validators.host,
        ),
        Variable(
            name="DJANGO_CSRF_TRUSTED_ORIGINS",
            kind=Kind.LIST,
            help="Other origins, with their scheme, whose forms the site accepts.",
            validate=validators.origin,
        ),
        Variable(
            name="DJANGO_DEBUG",
            kind=Kind.BOOL,
            help="Debug pages; cannot be on in production.",
            default="false",
            layer_defaults={"local": "true", "dev": "true"},
        ),
        Variable(
            name="DJANGO_SECURE_SSL_REDIRECT",
            kind=Kind.BOOL,
            help="Redirect http to https.",
            default="false",
            layer_defaults={"production": "true"},
        ),
        # An hour, so that a first deployment whose HTTPS turns out broken can be undone. Browsers
        # hold a site to the full time: https://docs.djangoproject.com/en/5.2/ref/middleware/#http-strict-transport-security
        Variable(
            name="DJANGO_HSTS_SECONDS",
            kind=Kind.INT,
            help="HSTS: seconds that browsers insist on https. Set 31536000 (a year) once https "
            "works.",
            default="0",
            layer_defaults={"production": "3600"},
            minimum=0,
            maximum=63_072_000,
        ),
        Variable(
            name="DJANGO_HSTS_INCLUDE_SUBDOMAINS",
            kind=Kind.BOOL,
            help="HSTS for all subdomains too: each must serve https.",
            default="false",
        ),
        Variable(
            name="DJANGO_HSTS_PRELOAD",
            kind=Kind.BOOL,
            help="Lets browsers preload that they must use https (https://hstspreload.org/), which "
            "takes months to undo.",
            default="false",
        ),
        Variable(
            name="CSP_MODE",
            kind=Kind.CHOICE,
            help="Whether browsers enforce the Content-Security-Policy, only report what it would "
            "block, or get none.",
            choices=("off", "report-only", "strict"),
            default="strict",
        ),
        Variable(
            name="DJANGO_LOG_LEVEL",
            kind=Kind.CHOICE,
            help="The minimum log level.",
            choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
            default="INFO",
            layer_defaults={"test": "WARNING"},
        ),
        Variable(
            name="DJANGO_LANGUAGE_CODE",
            help="The site's language.",
            default="en-us",
            validate=validators.language,
        ),
        Variable(
            name="DJANGO_TIME_ZONE",
            help="The site's time zone.",
            default="UTC",
            validate=validators.time_zone,
        ),
        Variable(
            name="PROFILE_FIELDS",
            kind=Kind.LIST,
            help="What /profile/ shows to anonymous clients.",
            choices=PROFILE_FIELDS,
            default=",".join(PROFILE_FIELDS),
            layer_defaults={"production": "settings,server,release"},
        ),
        Variable(
            name="DJANGO_SUPERUSER_USERNAME",
            help="The first superuser's login (the user model's USERNAME_FIELD). migrate "
            "creates it if there is no superuser.",
        ),
        Variable(name="DJANGO_SUPERUSER_EMAIL", help="The first superuser's e-mail address."),
        Variable(
            name="DJANGO_SUPERUSER_PASSWORD",
            help="The first superuser's password; remove it once they have signed in.",
            secret=True,
        ),
        Variable(
            name="SERVER_COUNT",
            kind=Kind.CHOICE,
            help="How many servers docker compose starts: server1, server2, ...; 2 if empty.",
            choices=("2", "3", "4", "5", "6"),
        ),
        Variable(
            name="STATIC_ROOT",
            kind=Kind.PATH,
            help="Folder that collectstatic writes to; the images set /srv/static.",
            default="var/static",
        ),
        Variable(
            name="AWS_STATIC_BUCKET_NAME",
            help="S3 bucket of the static files: servers upload them when they start. "
            "The AWS_S3_* variables apply to it too.",
            validate=validators.bucket,
        ),
        Variable(
            name="STATIC_URL",
            kind=Kind.URL,
            help="URL of static/ in that bucket, or of a CDN in front of it: https://.../static/.",
            validate=validators.folder_url,
        ),
        Variable(
            name="MEDIA_ROOT",
            kind=Kind.PATH,
            help="Folder of uploads; the images set /srv/media.",
            default="var/media",
        ),
        Variable(
            name="PRIVATE_ROOT",
            kind=Kind.PATH,
            help="Folder of files that no web server serves; the images set /srv/private.",
            default="var/private",
        ),
        Variable(
            name="MESSAGES_ROOT",
            kind=Kind.PATH,
            help="Folder of compiled translations; the images set it.",
            default="var/messages",
        ),
        Variable(
            name="DRAIN_FILE",
            kind=Kind.PATH,
            help="While this file exists, /readyz answers 404.",
            default="var/drain",
        ),
        Variable(
            name="DRAIN_SECONDS",
            kind=Kind.INT,
            help="Seconds that a stopping server waits for load balancers to see that 404.",
            default="5",
            minimum=0,
            maximum=10,
        ),
        Variable(
            name="RUN_PORT",
            kind=Kind.PORT,
            help="The port of `make run`.",
            default="8000",
        ),
        Variable(
            name="DEBUGGER_PORT",
            kind=Kind.PORT,
            help="In the local layer: address where the first worker waits for a debugger. "
            "Empty: none.",
        ),
        Variable(
            name="APP_SERVER",
            kind=Kind.CHOICE,
            help="The application server in each server container.",
            choices=("uwsgi", "gunicorn", "asgi"),
            default="uwsgi",
        ),
        Variable(
            name="WEB_CONCURRENCY",
            kind=Kind.INT,
            help="Workers of uWSGI or gunicorn in each server.",
            default="2",
            minimum=1,
            maximum=64,
        ),
        # Longer than the database's own limits (ops/environment/database.py).
        Variable(
            name="REQUEST_SECONDS",
            kind=Kind.INT,
            help="Time limit of a request in seconds. The time limits of all servers "
            "derive from it.",
            default="20",
            minimum=20,
            maximum=600,
        ),
        Variable(
            name="SLOW_PATHS",
            kind=Kind.LIST,
            help="Beginnings of paths whose pages have SLOW_REQUEST_SECONDS, and workers of their "
            "own: /reports/,/exports/ (docs/long-requests.md).",
            validate=slow_paths.prefix,
        ),
        Variable(
            name="SLOW_REQUEST_SECONDS",
            kind=Kind.INT,
            help="Time limit of a request to SLOW_PATHS in seconds.",
            default="300",
            minimum=20,
            maximum=600,
        ),
        Variable(
            name="SLOW_CONCURRENCY",
            kind=Kind.INT,
            help="Workers for SLOW_PATHS in each server, next to those of WEB_CONCURRENCY.",
            default="2",
            minimum=1,
            maximum=63,
        ),
        Variable(
            name="DJANGO_READ_DOTENV",
            kind=Kind.BOOL,
            help="Whether to read .env. The images set false: docker compose has read it already.",
            default="true",
        ),
        Variable(
            name="DJANGO_BUILD",
            kind=Kind.BOOL,
            help="For build steps only (collectstatic): no secrets, no database, no server.",
            default="false",
            in_dotenv=False,
        ),
    ),
)

LIMITS: Final = Section(
    "Limits",
    "Rate limits of /api/, such as 1200/minute (second, minute, hour, day), or off. "
    "Counted over all servers.",
    (
        Variable(
            name="THROTTLE_ANON",
            help="Limit for each address that is not signed in.",
            default="1200/minute",
            validate=validators.rate,
        ),
        Variable(
            name="THROTTLE_USER",
            help="Limit for each user.",
            default="6000/minute",
            validate=validators.rate,
        ),
        Variable(
            name="THROTTLE_LOGIN",
            help="Sign-in attempts, requests for a token or a password reset, for each address.",
            default="20/minute",
            validate=validators.rate,
        ),
    ),
)

MONITORING: Final = Section(
    "Monitoring",
    "Metrics and error reports: docs/monitoring.md.",
    (
        Variable(
            name="PROMETHEUS_MULTIPROC_DIR",
            help="Folder of the metrics of a server's processes; the images "
            "set it. Empty: no metrics.",
        ),
        Variable(
            name="SENTRY_DSN",
            kind=Kind.URL,
            help="The DSN of Sentry or a similar service that receives errors. Empty: none.",
            secret=True,
            validate=validators.dsn,
        ),
    ),
)
