"""What is counted of background jobs, in the process that does them, and of the queue."""

import logging
import time
from collections.abc import Iterator
from typing import Any

from celery import Task, signals
from django.conf import settings
from django.db import connection
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ops.celery import app
from ops.metrics import processes  # first: it says where metrics are kept

logger = logging.getLogger(__name__)

STARTED = Counter("celery_tasks_started", "Tasks started.", ["task"])
SUCCEEDED = Counter("celery_tasks_succeeded", "Tasks that succeeded.", ["task"])
FAILED = Counter("celery_tasks_failed", "Tasks that failed.", ["task"])
RETRIED = Counter("celery_tasks_retried", "Tasks that are retried after a pause.", ["task"])
DURATION = Histogram(
    "celery_task_duration_seconds",
    "Seconds that a task took.",
    ["task"],
    buckets=processes.buckets(settings.CELERY_TASK_SOFT_TIME_LIMIT),
)
OUTCOMES = (STARTED, SUCCEEDED, FAILED, RETRIED)


@signals.task_prerun.connect
def begun(task: Task, **kwargs: Any) -> None:
    """Count a task that begins; its other counters exist from now on, too."""
    for counter in OUTCOMES:
        counter.labels(task.name)
    STARTED.labels(task.name).inc()
    task.request.metrics_begun = time.perf_counter()


@signals.task_postrun.connect
def ended(task: Task, **kwargs: Any) -> None:
    """Note how long it took."""
    start = getattr(task.request, "metrics_begun", None)
    if start is not None:
        DURATION.labels(task.name).observe(time.perf_counter() - start)


@signals.task_success.connect
def succeeded(sender: Task, **kwargs: Any) -> None:
    """Count a job that ended well."""
    SUCCEEDED.labels(sender.name).inc()


@signals.task_failure.connect
def failed(sender: Task, **kwargs: Any) -> None:
    """Count a job that failed; one that was too slow is counted by the process above it."""
    FAILED.labels(sender.name).inc()


@signals.task_retry.connect
def retried(sender: Task, **kwargs: Any) -> None:
    """Count a job that is tried again."""
    RETRIED.labels(sender.name).inc()


class Queue(Collector):
    """What waits: messages at the broker, parked tasks in their table. Counted at each scrape.

    What does not answer is left out, and `..._up` is 0.
    """

    def collect(self) -> Iterator[Metric]:
        """Ask the broker and the table."""
        yield from self.broker()
        yield from self.parked()

    def broker(self) -> Iterator[Metric]:
        """Ask how many messages wait."""
        try:
            waiting = app.queue_length()
        except Exception as error:
            logger.info("cannot read the queue's metrics: %s", error)
            yield GaugeMetricFamily("celery_broker_up", "Whether the broker answers.", 0)
            return
        yield GaugeMetricFamily("celery_broker_up", "Whether the broker answers.", 1)
        length = GaugeMetricFamily(
            "celery_queue_length", "Messages that wait in the queue.", labels=["queue"]
        )
        length.add_metric([app.conf.task_default_queue], waiting)
        yield length

    def parked(self) -> Iterator[Metric]:
        """Ask how many tasks wait for a release that knows them."""
        from ops.models import ParkedTask

        try:
            number = ParkedTask.objects.count()
        except Exception as error:
            logger.info("cannot read the metrics of parked tasks: %s", error)
            return
        finally:
            connection.close()
        yield GaugeMetricFamily(
            "mysite_tasks_parked",
            "Tasks that wait for a release that knows them.",
            number,
        )
