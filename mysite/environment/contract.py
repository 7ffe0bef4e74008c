"""The contract: every variable that the project reads, declared once.

From it come the checks at start, `.env.sample` and the table in docs/environment.md.
"""

from __future__ import annotations

from typing import Final

from . import validators
from .variable import SHARED, Kind, Scope, Section, Variable

# Each secret's value in the local layer, where nobody else can reach the servers. They are public:
# dev and production refuse them.
SAMPLE_SECRET_KEY: Final = "django-insecure-sample-of-the-local-layer-refused-elsewhere"  # noqa: S105
SAMPLE_PASSWORD: Final = "local-sample-password"  # noqa: S105

# What /profile/ can show; see PROFILE_FIELDS.
PROFILE_FIELDS: Final = (
    "settings",
    "server",
    "release",
    "hostname",
    "django",
    "python",
    "debug",
)

_LAYER: Final = Section(
    "Layer",
    "Which of the layers runs, and what this server is called.",
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
            help="Begins the names of images, containers and volumes; another clone has another.",
            default="mysite",
            scope=Scope.STACK,
            validate=validators.stack_name,
        ),
        Variable(
            name="DJANGO_SETTINGS_MODULE",
            help="The settings module; each image sets its own layer's.",
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
            help="What a container runs where only variables can be passed (Elastic Beanstalk).",
            choices=("serve", "worker"),
            default="serve",
        ),
    ),
)

_DJANGO: Final = Section(
    "Django",
    "What the application itself reads.",
    (
        Variable(
            name="DJANGO_SECRET_KEY",
            help="Signs sessions and tokens; at least 50 random characters.",
            layer_defaults={"local": SAMPLE_SECRET_KEY, "test": SAMPLE_SECRET_KEY},
            sample=SAMPLE_SECRET_KEY,
            required_in=SHARED,
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
            help="Origins besides the site's own whose forms are accepted, with their scheme.",
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
            help="How long browsers insist on https; 31536000 (a year) once HTTPS is proven.",
            default="0",
            layer_defaults={"production": "3600"},
            minimum=0,
            maximum=63_072_000,
        ),
        Variable(
            name="DJANGO_LOG_LEVEL",
            kind=Kind.CHOICE,
            help="The least level that is logged.",
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
            help="What /profile/ shows to strangers.",
            choices=PROFILE_FIELDS,
            default=",".join(PROFILE_FIELDS),
            layer_defaults={"production": "settings,server,release"},
        ),
        Variable(
            name="DJANGO_SUPERUSER_USERNAME",
            help="The first superuser, whom migrate makes while there is none.",
        ),
        Variable(name="DJANGO_SUPERUSER_EMAIL", help="The first superuser's e-mail address."),
        Variable(
            name="DJANGO_SUPERUSER_PASSWORD",
            help="The first superuser's password; can be removed once they have signed in.",
            secret=True,
        ),
        Variable(
            name="SERVERS",
            kind=Kind.LIST,
            help="The servers that the status page watches; docker compose sets its own.",
            validate=validators.server,
        ),
        Variable(
            name="STATIC_ROOT",
            kind=Kind.PATH,
            help="Where collectstatic writes; the images set /srv/static.",
            default="var/static",
        ),
        Variable(
            name="AWS_STATIC_BUCKET_NAME",
            help="Servers bring static files to this S3 bucket when they start; the AWS_S3_* "
            "variables count for it too.",
            validate=validators.bucket,
        ),
        Variable(
            name="STATIC_URL",
            kind=Kind.URL,
            help="Where browsers get what is in that bucket under static/, there or from a CDN: "
            "https://.../static/.",
            validate=validators.folder_url,
        ),
        Variable(
            name="MEDIA_ROOT",
            kind=Kind.PATH,
            help="Where uploads are kept; the images set /srv/media.",
            default="var/media",
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
            name="APP_SERVER",
            kind=Kind.CHOICE,
            help="What runs Django in each server container.",
            choices=("uwsgi", "gunicorn"),
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
        Variable(
            name="DJANGO_READ_DOTENV",
            kind=Kind.BOOL,
            help="Read .env; the images say no, because docker compose has read it already.",
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

_DATABASE: Final = Section(
    "Database",
    "One of three ways, the first that is set: DATABASE_URL, DB_ENGINE with DB_*, or "
    "RDS_HOSTNAME with RDS_*. The local layer falls back to SQLite in var/; dev and production "
    "have no fallback.",
    (
        Variable(
            name="DATABASE_URL",
            kind=Kind.DATABASE_URL,
            help="mysql://user:password@host:3306/name, postgres://...:5432/name or sqlite:///path.",
            secret=True,
        ),
        Variable(
            name="DB_ENGINE",
            kind=Kind.CHOICE,
            help="Makes the DB_* variables count; docker compose starts this database server.",
            choices=("sqlite", "mysql", "postgres"),
            aliases={
                "sqlite3": "sqlite",
                "postgresql": "postgres",
                "django.db.backends.sqlite3": "sqlite",
                "django.db.backends.mysql": "mysql",
                "django.db.backends.postgresql": "postgres",
            },
        ),
        Variable(name="DB_NAME", help="The database's name; for sqlite, its file."),
        Variable(name="DB_USER", help="The database's user."),
        Variable(
            name="DB_PASSWORD",
            help="The database user's password.",
            secret=True,
            sample=SAMPLE_PASSWORD,
        ),
        Variable(name="DB_HOST", help="The database's host name."),
        Variable(
            name="DB_PORT", kind=Kind.PORT, help="The database's port, if not its engine's own."
        ),
        Variable(name="RDS_HOSTNAME", help="Set by Elastic Beanstalk for a coupled database."),
        Variable(
            name="RDS_PORT", kind=Kind.PORT, help="5432 means PostgreSQL, any other port MySQL."
        ),
        Variable(name="RDS_DB_NAME", help="The coupled database's name."),
        Variable(name="RDS_USERNAME", help="The coupled database's user."),
        Variable(name="RDS_PASSWORD", help="The coupled database's password.", secret=True),
        Variable(name="TEST_DB_NAME", help="The name of the database that the tests create."),
        Variable(
            name="DB_CONN_MAX_AGE",
            kind=Kind.INT,
            help="Seconds that a connection is kept for the next request.",
            default="60",
            minimum=0,
            maximum=86_400,
        ),
        Variable(
            name="RUN_MIGRATIONS",
            kind=Kind.BOOL,
            help="A server migrates before it starts, one at a time; for Elastic Beanstalk.",
            default="false",
        ),
        Variable(
            name="DB_WAIT_SECONDS",
            kind=Kind.INT,
            help="Seconds that migrate waits for the database to come up.",
            default="60",
            minimum=0,
            maximum=3_600,
        ),
    ),
)

_REDIS: Final = Section(
    "Redis",
    "Cache, visit counter and, unless another is named, message broker: REDIS_URL, or REDIS_HOST "
    "with REDIS_PASSWORD. The local layer falls back to the database and to files in var/; dev and "
    "production have no fallback.",
    (
        Variable(
            name="REDIS_URL",
            kind=Kind.URL,
            help="redis://:password@host:6379/0, or rediss:// for TLS. Three databases are used: "
            "the numbered one is the broker's, the next the cache's, then the counter's.",
            secret=True,
            validate=validators.redis_url,
        ),
        Variable(name="REDIS_HOST", help="Redis' host name, for its usual port and database 0."),
        Variable(
            name="REDIS_PASSWORD",
            help="Redis' password.",
            secret=True,
            sample=SAMPLE_PASSWORD,
        ),
    ),
)

_BROKER: Final = Section(
    "Message broker",
    "What carries a job to the worker: Redis, unless BROKER with BROKER_HOST and BROKER_PASSWORD, "
    "or CELERY_BROKER_URL, says otherwise.",
    (
        Variable(
            name="BROKER",
            kind=Kind.CHOICE,
            help="The message broker, which docker compose starts; cache and counter stay in "
            "Redis. For kafka the image is built anew.",
            choices=("redis", "rabbitmq", "kafka"),
            default="redis",
        ),
        Variable(name="BROKER_HOST", help="The broker's host name, where it is not Redis."),
        Variable(
            name="BROKER_PASSWORD",
            help="The password of RabbitMQ's user mysite.",
            layer_defaults={"local": SAMPLE_PASSWORD, "test": SAMPLE_PASSWORD},
            sample=SAMPLE_PASSWORD,
            secret=True,
        ),
        Variable(
            name="CELERY_BROKER_URL",
            kind=Kind.URL,
            help="Another message broker, as Celery writes it: amqps://user:password@host/vhost. "
            "It wins over BROKER.",
            secret=True,
            validate=validators.url,
        ),
    ),
)

_WORKER: Final = Section(
    "Worker",
    "The process that does the work behind the requests.",
    (
        Variable(
            name="WORKER_CONCURRENCY",
            kind=Kind.INT,
            help="Jobs that a worker does at a time, each in a process of its own.",
            default="2",
            minimum=1,
            maximum=64,
        ),
        Variable(
            name="WORKER_HEARTBEAT_FILE",
            kind=Kind.PATH,
            help="The worker touches this file while it is well.",
            default="var/worker-heartbeat",
        ),
    ),
)

_UPLOADS: Final = Section(
    "Uploads",
    "What may be uploaded, and where it is kept: in MEDIA_ROOT, or in S3 if a bucket is named.",
    (
        # nginx.conf's client_max_body_size has room for the maximum; a test compares.
        Variable(
            name="UPLOAD_MAX_MB",
            kind=Kind.INT,
            help="The largest picture in megabytes; for more, raise client_max_body_size too.",
            default="10",
            minimum=1,
            maximum=10,
        ),
        Variable(
            name="UPLOAD_MAX_MEGAPIXELS",
            kind=Kind.INT,
            help="The largest picture in million pixels; each takes 4 bytes of memory.",
            default="40",
            minimum=1,
            maximum=200,
        ),
        Variable(name="AWS_STORAGE_BUCKET_NAME", help="Keep files in this S3 bucket."),
        Variable(name="AWS_S3_REGION_NAME", help="The bucket's region."),
        Variable(
            name="AWS_S3_ENDPOINT_URL",
            kind=Kind.URL,
            help="The address of an S3 server that is not Amazon's.",
            validate=validators.origin,
        ),
        Variable(
            name="AWS_S3_ADDRESSING_STYLE",
            kind=Kind.CHOICE,
            help="How the bucket is named in addresses; many servers of one's own want path.",
            choices=("auto", "path", "virtual"),
            default="auto",
        ),
        Variable(
            name="AWS_ACCESS_KEY_ID",
            help="The key for S3; not needed where the machine has a role.",
            secret=True,
        ),
        Variable(name="AWS_SECRET_ACCESS_KEY", help="The key's secret part.", secret=True),
    ),
)

_LIMITS: Final = Section(
    "Limits",
    "Requests to /api/ that a client may make, as 1200/minute (second, minute, hour, day), or off. "
    "Counted over all servers.",
    (
        Variable(
            name="THROTTLE_ANON",
            help="For each address that is not signed in.",
            default="1200/minute",
            validate=validators.rate,
        ),
        Variable(
            name="THROTTLE_USER",
            help="For each user.",
            default="6000/minute",
            validate=validators.rate,
        ),
        Variable(
            name="THROTTLE_LOGIN",
            help="Sign-ins, the admin's too, and requests for a token, for each address.",
            default="20/minute",
            validate=validators.rate,
        ),
    ),
)

_MONITORING: Final = Section(
    "Monitoring",
    "Numbers and errors; docs/monitoring.md says what there is.",
    (
        Variable(
            name="PROMETHEUS_MULTIPROC_DIR",
            help="Where the processes of a server keep what they count; the images set it. Empty: "
            "there are no metrics.",
        ),
        Variable(
            name="SENTRY_DSN",
            kind=Kind.URL,
            help="Where errors are sent, as Sentry and its likes give it; empty: nowhere.",
            secret=True,
            validate=validators.dsn,
        ),
    ),
)

_STACK: Final = Section(
    "Stack",
    "What docker compose and HAProxy read; the application's servers never see these.",
    (
        Variable(
            name="HTTP_PORT",
            kind=Kind.PORT,
            help="The host's port for the site through HAProxy.",
            default="8080",
            scope=Scope.STACK,
        ),
        Variable(
            name="HAPROXY_BALANCE",
            kind=Kind.CHOICE,
            help="Which server gets the next request: each in turn, the one with the fewest "
            "running, or by the client's address always the same.",
            choices=("roundrobin", "leastconn", "source"),
            default="roundrobin",
            scope=Scope.STACK,
        ),
        Variable(
            name="SERVER3",
            kind=Kind.CHOICE,
            help="1 adds a third server; empty, there are two.",
            choices=("1",),
            scope=Scope.STACK,
        ),
        Variable(
            name="APACHE",
            kind=Kind.CHOICE,
            help="1 adds Apache httpd beside nginx; empty, there is none.",
            choices=("1",),
            scope=Scope.STACK,
        ),
        Variable(
            name="NGINX_PORT",
            kind=Kind.PORT,
            help="With APACHE, the host's port for server1's nginx, asked directly.",
            default="8001",
            scope=Scope.STACK,
        ),
        Variable(
            name="APACHE_PORT",
            kind=Kind.PORT,
            help="The host's port for Apache, asked directly.",
            default="8002",
            scope=Scope.STACK,
        ),
        Variable(
            name="DIRECT_ADDRESS",
            help="The host's address for both: 127.0.0.1 this machine alone, 0.0.0.0 all.",
            default="127.0.0.1",
            scope=Scope.STACK,
            validate=validators.bind_address,
        ),
        Variable(
            name="NGINX_BALANCE",
            kind=Kind.CHOICE,
            help="The same where nginx is the load balancer; ip_hash goes by an IPv4 address's "
            "first three numbers.",
            choices=("round_robin", "least_conn", "ip_hash"),
            default="round_robin",
            scope=Scope.STACK,
        ),
        Variable(
            name="NGINX_BALANCER_PORT",
            kind=Kind.PORT,
            help="The host's port for the site through nginx as the load balancer.",
            default="8090",
            scope=Scope.STACK,
        ),
        Variable(
            name="NGINX_BALANCER_ADDRESS",
            help="The host's address for it: 127.0.0.1 this machine alone, 0.0.0.0 all.",
            default="127.0.0.1",
            scope=Scope.STACK,
            validate=validators.bind_address,
        ),
        Variable(
            name="TLS_CERTIFICATE",
            help="A folder in certs/ with fullchain.pem and privkey.pem: the site by https.",
            scope=Scope.STACK,
            validate=validators.certificate_folder,
        ),
        Variable(
            name="HTTPS_PORT",
            kind=Kind.PORT,
            help="The host's port for the site by https, where there is a certificate.",
            default="8443",
            scope=Scope.STACK,
        ),
        Variable(
            name="STATS_PORT",
            kind=Kind.PORT,
            help="The host's port for HAProxy's stats page.",
            default="8888",
            scope=Scope.STACK,
        ),
        Variable(
            name="HTTP_ADDRESS",
            help="The host's address of the site: 127.0.0.1 this machine alone, 0.0.0.0 all.",
            default="0.0.0.0",  # noqa: S104 (what a server is for; the sample layer is not one)
            layer_defaults={"local": "127.0.0.1", "test": "127.0.0.1"},
            scope=Scope.STACK,
            validate=validators.bind_address,
        ),
        Variable(
            name="STATS_USER",
            help="The stats page's user.",
            default="admin",
            scope=Scope.STACK,
            validate=validators.basic_auth_user,
        ),
        Variable(
            name="STATS_PASSWORD",
            help="The stats page's password.",
            layer_defaults={"local": SAMPLE_PASSWORD, "test": SAMPLE_PASSWORD},
            sample=SAMPLE_PASSWORD,
            required_in=SHARED,
            secret=True,
            scope=Scope.STACK,
        ),
    ),
)

CONTRACT: Final = (
    _LAYER,
    _DJANGO,
    _DATABASE,
    _REDIS,
    _BROKER,
    _WORKER,
    _UPLOADS,
    _LIMITS,
    _MONITORING,
    _STACK,
)

VARIABLES: Final = {
    variable.name: variable for section in CONTRACT for variable in section.variables
}
