"""The components that /healthz checks.

Each check has a short time limit: a component that hangs is down, and the answer still comes.
A check's `run` raises ServiceUnavailable when its component is down; the page shows the message.
"""

import dataclasses
import datetime
import tempfile

from django.conf import settings
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from ops import registry, tls
from ops.celery import app
from ops.database.outage import TLS_VARIABLES
from ops.storage.local import is_local
from ops.worker import beats

# health_check grants a second on top, so that an answer takes two at most.
TIMEOUT = datetime.timedelta(seconds=1)


def no_answer(error: Exception, mode: str, authority: str) -> str:
    """Return what the page shows of an error: that of TLS is named, with its variables."""
    if mode == "REDIS_URL" and any(
        isinstance(each, ConnectionResetError) for each in tls.chain(error)
    ):
        return "closes the connection; if it requires TLS, write rediss:// in REDIS_URL"
    return tls.reason(error, mode, authority) or "does not answer"


def broker_variables() -> tuple[str, str]:
    """Return the variables that decide on TLS with the broker."""
    if settings.CELERY_BROKER_URL.startswith("redis"):
        return "REDIS_URL", "REDIS_SSL_CA"
    return "CELERY_BROKER_URL", "CELERY_BROKER_URL"


@dataclasses.dataclass
class DatabaseCheck(HealthCheck):
    """The database answers a query."""

    timeout = TIMEOUT

    def run(self) -> None:
        """Ask it, on this thread's own connection."""
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except Exception as error:
            raise ServiceUnavailable(no_answer(error, *TLS_VARIABLES)) from error
        finally:
            connection.close()


@dataclasses.dataclass
class MigrationsCheck(HealthCheck):
    """The tables are as this release's migrations make them."""

    timeout = TIMEOUT

    def run(self) -> None:
        """Compare the migrations on disk with those that the database has seen."""
        try:
            executor = MigrationExecutor(connection)
            pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
        except Exception as error:
            raise ServiceUnavailable("unknown: the database does not answer") from error
        finally:
            connection.close()
        if pending:
            raise ServiceUnavailable(f"{len(pending)} not applied")


@dataclasses.dataclass
class CacheCheck(HealthCheck):
    """The cache gives back what it was given."""

    timeout = TIMEOUT
    key = "healthz"

    def run(self) -> None:
        """Write a value and read it."""
        try:
            cache.set(self.key, "up", timeout=5)
            value = cache.get(self.key)
        except Exception as error:
            variables = ("REDIS_URL", "REDIS_SSL_CA")
            raise ServiceUnavailable(no_answer(error, *variables)) from error
        if value != "up":
            raise ServiceUnavailable("did not return the value that was written")


@dataclasses.dataclass
class StorageCheck(HealthCheck):
    """Uploaded files can be written."""

    timeout = TIMEOUT

    def run(self) -> None:
        """Write a file that vanishes at once."""
        if not is_local(default_storage):
            self.ask_bucket()
            return
        try:
            with tempfile.TemporaryFile(dir=settings.MEDIA_ROOT) as file:
                file.write(b"up")
        except OSError as error:
            raise ServiceUnavailable("cannot be written") from error

    def ask_bucket(self) -> None:
        """Request a file that does not exist.

        Raises:
            ServiceUnavailable: the bucket does not answer.
        """
        try:
            default_storage.exists("healthz")
        except Exception as error:
            raise ServiceUnavailable("does not answer") from error


@dataclasses.dataclass
class BrokerCheck(HealthCheck):
    """The message broker answers."""

    timeout = TIMEOUT

    def run(self) -> None:
        """Ask how many messages wait."""
        try:
            app.queue_length()
        except Exception as error:
            raise ServiceUnavailable(no_answer(error, *broker_variables())) from error


@dataclasses.dataclass
class WorkerCheck(HealthCheck):
    """A worker has reported lately that it is healthy."""

    timeout = TIMEOUT

    def run(self) -> None:
        """Check the workers' heartbeats."""
        try:
            problem = beats.problem()
        except Exception as error:
            raise ServiceUnavailable("unknown: the database does not answer") from error
        finally:
            connection.close()
        if problem:
            raise ServiceUnavailable(problem)


registry.health_checks |= {
    "database": DatabaseCheck,
    "migrations": MigrationsCheck,
    "cache": CacheCheck,
    "broker": BrokerCheck,
    "storage": StorageCheck,
    "worker": WorkerCheck,
}
