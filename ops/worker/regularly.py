"""Work that is repeated in parallel to the worker's tasks, in a thread of its own."""

import logging
import threading
from collections.abc import Callable

from django.db import connections

logger = logging.getLogger(__name__)


class Regularly(threading.Thread):
    """Does something every few seconds until it is stopped.

    What goes wrong is logged, once until it goes well again, and tried again the next time.
    """

    def __init__(self, what: str, seconds: float, work: Callable[[], object]) -> None:
        """Describe it; `start` begins it.

        Args:
            what: the thread's name, which the log shows.
            seconds: the pause between two times.
            work: what is done.
        """
        # It never delays the worker's end.
        super().__init__(name=what, daemon=True)
        self.seconds = seconds
        self.work = work
        self.failing = False
        self.over = threading.Event()

    def run(self) -> None:
        """Work, pause, and so on."""
        while not self.over.is_set():
            self.once()
            self.over.wait(self.seconds)

    def once(self) -> None:
        """Work, and keep no connection: processes that are forked meanwhile would inherit it."""
        try:
            self.work()
            self.failing = False
        except Exception as error:
            if not self.failing:
                logger.warning("%s failed: %s: %s", self.name, type(error).__name__, error)
            self.failing = True
        finally:
            connections.close_all()

    def stop(self) -> None:
        """Stop the work after the present round."""
        self.over.set()
