"""The base class of tasks that are not lost."""

import datetime
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from celery import Task
from celery.exceptions import Retry
from celery.result import AsyncResult
from django.db import transaction
from django.utils import timezone

from ops.tasks import rows

logger = logging.getLogger(__name__)


class DurableTask(Task):
    """A task that runs once to its end, whatever is lost on the way.

        @shared_task(base=DurableTask, max_attempts=4)
        def send_invoice(order_id: int) -> None: ...

        send_invoice.delay(order.pk)

    `delay` and `apply_async` write a row in the caller's transaction and send the message after its
    commit. A message that the broker or a worker loses is sent again. `countdown` and `eta` may be
    days. The task may begin again after it was cut off, so it has to bear that.

    https://docs.celeryq.dev/en/stable/userguide/tasks.html#custom-task-classes

    Attributes:
        max_attempts: how often it is tried; an exception is followed by another try.
        first_pause_seconds: before the second try; each later pause is twice as long.
        final_exceptions: those after which no other try is made.
    """

    abstract = True
    max_attempts = 6
    first_pause_seconds = 1.0
    final_exceptions: tuple[type[Exception], ...] = ()

    def on_failed(self, error: Exception, /, *args: Any, **kwargs: Any) -> None:
        """Do what a task needs when it has failed for good; override it.

        Called in the transaction that marks the task as failed, also when its worker was lost.

        Args:
            error: of the last try; celery.exceptions.WorkerLostError if its workers were lost.
            args: the task's arguments.
            kwargs: its keyword arguments.
        """

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *rest: Any,
        countdown: float = 0,
        eta: datetime.datetime | None = None,
        **options: Any,
    ) -> AsyncResult:
        """Write the task's row; its message is sent once the transaction is committed.

        Args:
            args: the arguments, as JSON has them.
            kwargs: the keyword arguments.
            countdown: seconds until it may run.
            rest: none of Celery's other options: the row keeps none.
            eta: when it may run, instead of `countdown`.
            options: none either.

        Raises:
            TypeError: an argument is no JSON, or an option is given that a row does not keep.
        """
        if given := [*rest, *(name for name, value in options.items() if value)]:
            raise TypeError(f"{self.name} is a DurableTask, which has no option {given[0]!r}.")
        if self.app.conf.task_always_eager:
            return super().apply_async(args, kwargs)
        due = eta or timezone.now() + datetime.timedelta(seconds=countdown)
        row = rows.add(self.name, args or (), kwargs or {}, due)
        if due <= timezone.now():
            transaction.on_commit(partial(rows.send, row), robust=True)
        return self.AsyncResult(str(row.pk))

    def retry(
        self,
        args: None = None,
        kwargs: None = None,
        exc: Exception | None = None,
        throw: bool = True,
        eta: datetime.datetime | None = None,
        countdown: float | None = None,
        **options: Any,
    ) -> Retry:
        """Try again after a pause, with the same arguments: `raise self.retry(countdown=60)`.

        https://docs.celeryq.dev/en/stable/reference/celery.app.task.html#celery.app.task.Task.retry

        Args:
            args: None: the arguments stay the same.
            kwargs: likewise.
            exc: what went wrong.
            throw: whether to raise the error, rather than return it.
            eta: when to try again, instead of `countdown`.
            countdown: seconds until the next try; by default the task's own pause.
            options: ignored.

        Raises:
            Retry: with `throw`.
        """
        when = eta or countdown
        error = Retry("tried again", exc=exc, when=when)
        if throw:
            raise error from exc
        return error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task if its row says so.

        Raises:
            Retry: it failed, and is tried again.
            Exception: what it raised, if it has failed for good.
        """
        if self.request.called_directly:
            return self.run(*args, **kwargs)
        row = rows.claim(self.row_id(args, kwargs), self.request.id, self.lease())
        if row is None:
            logger.info("task %s %s: nothing to do", self.name, self.request.id)
            return None
        try:
            result = self.run(*args, **kwargs)
        except self.final_exceptions as error:
            rows.fail(row, error)
            raise
        except Exception as error:
            pause = self.pause_after(error, row.attempts)
            if row.attempts >= self.max_attempts:
                rows.fail(row, error)
                raise
            rows.give_back(row, pause)
            logger.warning(
                "task %s: attempt %d of %d failed (%s: %s); next try in %g s",
                *(self.name, row.attempts, self.max_attempts, type(error).__name__, error),
                pause.total_seconds(),
            )
            raise Retry("tried again", exc=error, when=pause.total_seconds()) from error
        rows.finish(row)
        return result

    def row_id(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the row of the message that is processed; a message without one gets it now."""
        headers = self.request.headers or {}
        if identity := headers.get(rows.HEADER):
            return str(identity)
        # Sent by name, or by a release in which this was a plain task. Once for each message.
        return rows.adopt(self.request.id, self.name, args, kwargs)

    def lease(self) -> datetime.timedelta:
        """Return after how long a task that has not ended was cut off with its worker."""
        # Celery takes the latter from CELERY_TASK_TIME_LIMIT where a task has none.
        hard = self.request.time_limit or self.time_limit
        return datetime.timedelta(seconds=(hard or rows.NO_LIMIT_SECONDS) + rows.GRACE_SECONDS)

    def pause_after(self, error: Exception, attempts: int) -> datetime.timedelta:
        """Return the pause before the next try.

        Args:
            error: of the last try; a Retry says the pause itself.
            attempts: how often it was tried, from 1.
        """
        when = error.when if isinstance(error, Retry) else None
        if isinstance(when, datetime.datetime):
            return max(when - timezone.now(), datetime.timedelta())
        if when is None:
            when = self.first_pause_seconds * 2 ** (attempts - 1)
        return datetime.timedelta(seconds=float(when))
