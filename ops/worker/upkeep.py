"""Celery's own worker, extended by a heartbeat and periodic work.

https://docs.celeryq.dev/en/stable/userguide/extending.html
"""

import logging
import os
import signal
import time
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from celery import bootsteps
from django.conf import settings

from ops import registry
from ops.worker import beats
from ops.worker.regularly import Regularly

logger = logging.getLogger(__name__)

# The worker's loop wakes up every few seconds; longer than this it hangs.
LOOP_SECONDS = 20


class Upkeep(bootsteps.StartStopStep):
    """Runs next to the pool: one thread for the heartbeat, one for each periodic work."""

    requires = {"celery.worker.components:Pool", "celery.worker.components:Timer"}

    def __init__(self, worker: Any, **options: Any) -> None:
        """Keep the worker, to check it."""
        super().__init__(worker, **options)
        self.worker = worker
        self.parent = os.getppid()
        self.ticked = time.monotonic()
        self.asked = False
        self.heartbeat = Regularly("the worker's heartbeat", beats.EVERY_SECONDS, self.beat)
        self.periodic = [
            Regularly(each.name, each.seconds, traced(each.work))
            for each in registry.periodic_work.values()
        ]

    def start(self, worker: Any) -> None:
        """Begin, once the pool's processes run."""
        self.ticked = time.monotonic()
        if worker.use_eventloop:
            worker.timer.call_repeatedly(beats.EVERY_SECONDS, self.tick)
        self.heartbeat.start()
        for thread in self.periodic:
            thread.start()

    def stop(self, worker: Any) -> None:
        """End the periodic work; the heartbeat continues while running tasks are finished.

        The worker's row stays, so that /healthz waits STALE_SECONDS for its successor: a release
        replaces the only worker.
        """
        self.stop_periodic()
        self.ticked = time.monotonic() + settings.CELERY_TASK_TIME_LIMIT

    def terminate(self, worker: Any) -> None:
        """End at once."""
        self.heartbeat.stop()
        self.stop_periodic()

    def tick(self) -> None:
        """Note that the worker's loop turns."""
        self.ticked = time.monotonic()
        self.asked = False

    def ask(self) -> None:
        """Have `tick` called by a loop without timers (messages in files), once a turn."""
        consumer = getattr(self.worker, "consumer", None)
        if consumer is not None and not self.worker.use_eventloop and not self.asked:
            self.asked = True
            consumer.call_soon(self.tick)

    def beat(self) -> None:
        """Report that the worker is healthy, if it is."""
        self.end_with_parent()
        self.ask()
        if self.is_well():
            beats.touch()
            beats.beat(self.worker.hostname)

    def is_well(self) -> bool:
        """Return whether the worker takes jobs, or would if only its broker were there."""
        if getattr(self.worker.consumer, "connection", None) is None:
            # It waits for its broker; how long its loop is stuck counts from the end of that.
            self.ticked = time.monotonic()
            return True
        return time.monotonic() - self.ticked < LOOP_SECONDS

    def stop_periodic(self) -> None:
        """Begin no more periodic work."""
        for thread in self.periodic:
            thread.stop()

    def end_with_parent(self) -> None:
        """End if the one who started this worker was killed: no other process would end it then."""
        if self.parent != os.getppid():
            logger.warning("the worker ends: the process that started it has ended")
            os.kill(os.getpid(), signal.SIGTERM)


def traced(work: Callable[[], object]) -> Callable[[], None]:
    """Return the work with a request id of its own, which the tasks that it sends log too."""

    def run() -> None:
        with structlog.contextvars.bound_contextvars(request_id=f"sweep-{uuid.uuid4()}"):
            work()

    return run
