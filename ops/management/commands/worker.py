"""The worker: does the background jobs."""

import logging
import os
import signal
import time
import warnings
from argparse import ArgumentParser
from typing import Any
from urllib.parse import urlsplit

from celery.exceptions import CPendingDeprecationWarning
from django.conf import settings
from django.core.management.base import BaseCommand

from ops.celery import app
from ops.settings.backing import HEARTBEAT_SECONDS, WORKER_ANSWER_SECONDS, WORKER_SILENCE_SECONDS
from ops.worker.upkeep import Upkeep

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1


class Command(BaseCommand):
    """Wait for the broker, then run tasks until a signal: TERM lets running tasks finish."""

    help = "Runs background tasks; on TERM it finishes those that run."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare --single."""
        parser.add_argument(
            "--single",
            action="store_true",
            help="run one task at a time, in this process: for development",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Wait for the broker, then run Celery's worker until a signal."""
        # It warns of a deliberate choice: a task continues when the broker is lost.
        warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
        app.conf.broker_heartbeat = HEARTBEAT_SECONDS
        for name in {"read_timeout", "write_timeout"} & set(app.conf.broker_transport_options):
            app.conf.broker_transport_options[name] = WORKER_SILENCE_SECONDS
        if "socket_timeout" in app.conf.broker_transport_options:
            app.conf.broker_transport_options["socket_timeout"] = WORKER_ANSWER_SECONDS
        # An error in a tasks.py ends here, without the traceback that Celery's signal would log.
        app.autodiscover_tasks(force=True)
        self.wait_for_broker()
        app.steps["worker"].add(Upkeep)
        pool = ["--pool", "solo"] if options["single"] else []
        concurrency = 1 if options["single"] else settings.WORKER_CONCURRENCY
        level = settings.LOG_LEVEL.lower()
        app.worker_main(
            [
                "--quiet",
                "worker",
                *pool,
                # Workers need to know nothing of each other.
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                *("--concurrency", str(concurrency), "--loglevel", level),
                *("--hostname", f"worker-{os.getpid()}@%h"),
            ]
        )

    def wait_for_broker(self) -> None:
        """Return once the broker answers; say what is waited for and why, when that changes."""
        # A container's first process is not ended by TERM unless it says so; Celery does later.
        signal.signal(signal.SIGTERM, end)
        logged = ""
        while True:
            try:
                app.queue_length()
                return
            except Exception as error:
                if logged != str(error):
                    logged = str(error)
                    logger.warning("waiting for the message broker %s: %s", place(), error)
            time.sleep(RETRY_SECONDS)


def end(number: int, frame: object) -> None:
    """End at once: nothing has begun.

    Args:
        number: the signal's number.
        frame: what it interrupted.

    Raises:
        SystemExit: always, with the exit code 0.
    """
    raise SystemExit(0)


def place() -> str:
    """Name the broker, of several the first, for a person: its kind, host and port, no password."""
    parts = urlsplit(settings.CELERY_BROKER_URL.split(";")[0])
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}"
