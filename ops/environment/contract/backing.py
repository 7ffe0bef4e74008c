"""The servers that the application uses: database, Redis, message broker."""

from __future__ import annotations

from typing import Final

from ops.environment import authority, validators
from ops.environment.database_tls import MODES
from ops.environment.variable import Kind, Section, Variable

from .samples import SAMPLE_PASSWORD

DATABASE: Final = Section(
    "Database",
    "The first of these that is set: DATABASE_URL, or DB_ENGINE with DB_*"
    ", or RDS_HOSTNAME with RDS_*"  # remove_beanstalk
    ". The local layer falls back to SQLite in var/; dev and production have no fallback.",
    (
        Variable(
            name="DATABASE_URL",
            kind=Kind.DATABASE_URL,
            help="The database's "
            "URL: mysql://user:password@host:3306/name, "  # remove_mysql
            "postgres://user:password@host:5432/name, "  # remove_postgres
            "or sqlite:///path. For TLS set DB_SSL_MODE and DB_SSL_CA.",
            secret=True,
        ),
        Variable(
            name="DB_ENGINE",
            kind=Kind.CHOICE,
            help="The engine that DB_* describe, and the database server that docker compose "
            "starts. In the local layer, Django uses a server only if DB_HOST is set too.",
            choices=(
                "sqlite",
                "mysql",  # remove_mysql
                "postgres",  # remove_postgres
            ),
            aliases={
                "sqlite3": "sqlite",
                "postgresql": "postgres",  # remove_postgres
                "django.db.backends.sqlite3": "sqlite",
                "django.db.backends.mysql": "mysql",  # remove_mysql
                "django.db.backends.postgresql": "postgres",  # remove_postgres
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
            name="DB_PORT", kind=Kind.PORT, help="The database's port; default: the engine's."
        ),
        Variable(
            name="DB_SSL_MODE",
            kind=Kind.CHOICE,
            help="TLS to the database, in the engine's own words. With DB_SSL_CA alone it is the "
            "strictest, the last of them.",
            choices=tuple(mode for modes in MODES.values() for mode in modes),
            aliases={mode.casefold(): mode for modes in MODES.values() for mode in modes},
        ),
        Variable(
            name="DB_SSL_CA",
            help="Who signs the database's certificate: a file's path from the project's root, or "
            "the certificates (PEM). DB_SSL_CA_FILE names a file of this machine. Default: the "
            "authorities that the system trusts.",
            secret=True,
            validate=authority.check,
        ),
        # remove_beanstalk: begin
        Variable(name="RDS_HOSTNAME", help="Set by Elastic Beanstalk for a coupled database."),
        Variable(
            name="RDS_PORT",
            kind=Kind.PORT,
            help="5432 means PostgreSQL, any other port MySQL.",
        ),
        Variable(name="RDS_DB_NAME", help="The coupled database's name."),
        Variable(name="RDS_USERNAME", help="The coupled database's user."),
        Variable(name="RDS_PASSWORD", help="The coupled database's password.", secret=True),
        # remove_beanstalk: end
        Variable(
            name="DB_MIGRATION_USER",
            help="The user that migrates, where DB_USER may only read and write rows. The database "
            "of docker compose has one already.",
        ),
        Variable(
            name="DB_MIGRATION_PASSWORD",
            help="The migration user's password. For docker compose's database it is made up.",
            secret=True,
        ),
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
            help="Servers migrate before they start, one at a time; for Elastic Beanstalk.",
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
        Variable(
            name="DB_LOCK_WAIT_SECONDS",
            kind=Kind.INT,
            help="Seconds that migrate tries to get a lock that another transaction holds.",
            default="60",
            minimum=0,
            maximum=3_600,
        ),
    ),
)

REDIS: Final = Section(
    "Redis",
    "Cache, counters and, by default, message broker: REDIS_URL, or REDIS_HOST "
    "with REDIS_PASSWORD. The local layer falls back to the database and to files in var/; dev and "
    "production have no fallback.",
    (
        Variable(
            name="REDIS_URL",
            kind=Kind.URL,
            help="redis://user:password@host:6379/0, or rediss:// for TLS. Three databases are "
            "used: the numbered one is the broker's, the next the cache's, then the counter's.",
            secret=True,
            validate=validators.redis_url,
        ),
        Variable(
            name="REDIS_HOST",
            help="Redis' host name, with port 6379 and database 0. The user is "
            "mysite on docker compose's host redis, default on another. "
            "For anything else, set REDIS_URL.",
        ),
        Variable(
            name="REDIS_PASSWORD",
            help="Redis' password.",
            secret=True,
            sample=SAMPLE_PASSWORD,
        ),
        Variable(
            name="REDIS_SSL_CA",
            help="Who signs Redis' certificate, where REDIS_URL begins with rediss://; as "
            "DB_SSL_CA.",
            secret=True,
            validate=authority.check,
        ),
    ),
)

BROKER: Final = Section(
    "Message broker",
    "The broker between Django and the worker: Redis, unless BROKER with BROKER_HOST and "
    "BROKER_PASSWORD, "
    "or CELERY_BROKER_URL, names another.",
    (
        Variable(
            name="BROKER",
            kind=Kind.CHOICE,
            help="The message broker, which docker compose starts; cache and counter stay in "
            "Redis."
            " For kafka the image is rebuilt."  # remove_kafka
            "",
            choices=(
                "redis",
                "rabbitmq",  # remove_rabbitmq
                "kafka",  # remove_kafka
            ),
            default="redis",
        ),
        Variable(
            name="BROKER_HOST",
            help="The broker's host name, where it is not Redis; docker compose's own is broker.",
        ),
        Variable(
            name="BROKER_PASSWORD",
            help="The broker's password; its user is mysite.",
            layer_defaults={"local": SAMPLE_PASSWORD, "test": SAMPLE_PASSWORD},
            sample=SAMPLE_PASSWORD,
            secret=True,
        ),
        Variable(
            name="CELERY_BROKER_URL",
            kind=Kind.URL,
            help="URL of another message broker, in Celery's format: "
            "amqps://user:password@host/vhost. "
            "Separate several by ; characters. Overrides BROKER.",
            secret=True,
            validate=validators.url,
        ),
    ),
)
