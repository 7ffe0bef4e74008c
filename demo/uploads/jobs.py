"""The way of an upload: queued, running, done or failed; and its message to the worker.

The table says what is to be done; messages only make it happen soon. Each change of state is one
UPDATE that holds only if the state is still the one that was seen, so that nothing is done twice,
and what lost its message (the broker was away, a worker was killed) is found by `sweep`.
"""

import datetime
import logging
import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError
from django.db.models import F, Q
from django.utils import timezone

from demo.models import Upload
from ops.celery import app

logger = logging.getLogger(__name__)

Status = Upload.Status

TASK = "api.process_upload"
# Tries in all, and the pauses between them in seconds, double each time.
MAX_ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 1
# A worker is lost that is killed or cut off from the broker. An image ends only the process that
# decodes it (demo/uploads/limits.py).
MAX_LOSSES = 2
WORKERS_LOST = f"Its worker was lost {MAX_LOSSES} times."
# A queued upload counts as lost after the first when the broker's queue is empty, and after the
# second even if the queue is long. To send one that is not lost does no harm.
LOST_SECONDS = 5
LOST_IN_A_QUEUE_SECONDS = 300
# So many in one sweep.
SWEEP = 1000


@dataclass(frozen=True, slots=True)
class Result:
    """What the worker has found out about a picture."""

    thumbnail: str
    sha256: str


def send(upload: uuid.UUID) -> bool:
    """Send an upload's message, quickly or not at all; false if the broker did not take it.

    An upload whose message is not sent is marked so, for the next sweep.
    """
    if publish(upload):
        return True
    try:
        Upload.objects.filter(pk=upload, status=Status.QUEUED).update(sent=None)
    except DatabaseError:
        # The sweep finds it by its age.
        logger.warning("upload %s is not marked as unsent: the database is away", upload)
    return False


def publish(upload: uuid.UUID) -> bool:
    """Give the broker an upload's message; false if it does not take it."""
    try:
        app.send_task(TASK, args=[str(upload)])
    except Exception as error:  # also what a broker refuses, whose errors have no common name
        what = f"{type(error).__name__}: {error}"
        logger.warning("upload %s waits for the message broker: %s", upload, what)
        return False
    return True


def claim(upload: uuid.UUID, job: str) -> Upload | None:
    """Begin a job; None if there is nothing to do, or another is at it.

    Args:
        upload: which.
        job: the message's id. The same one again means that its first worker was lost, or lost
            the broker and works on; so the last one is left alone until its lease is over.
    """
    requeue_lost(Q(pk=upload) & (Q(started__lt=lease()) | Q(job=job, losses__lt=MAX_LOSSES - 1)))
    claimed = Upload.objects.filter(pk=upload, status=Status.QUEUED).update(
        status=Status.RUNNING, job=job, started=timezone.now(), attempts=F("attempts") + 1
    )
    return Upload.objects.filter(pk=upload).first() if claimed else None


def finish(upload: Upload, result: Result) -> bool:
    """End a job well; false if it is no longer this job's."""
    return end(
        upload, status=Status.DONE, thumbnail=result.thumbnail, sha256=result.sha256, error=""
    )


def fail(upload: Upload, reason: str) -> bool:
    """End a job for good, with a short reason for people."""
    return end(upload, status=Status.FAILED, error=reason[:200])


def end(upload: Upload, **changes: object) -> bool:
    """End a job if it is still this one's."""
    changed = Upload.objects.filter(pk=upload.pk, status=Status.RUNNING, job=upload.job).update(
        finished=timezone.now(), **changes
    )
    return bool(changed)


def give_back(upload: Upload) -> int:
    """Queue a job again that went wrong; return the pause in seconds, or 0 when it has failed."""
    if upload.attempts >= MAX_ATTEMPTS:
        fail(upload, f"It could not be worked on, in {upload.attempts} attempts.")
        return 0
    pause = FIRST_PAUSE_SECONDS * 2 ** (upload.attempts - 1)
    # Counted as sent when its pause is over.
    later = timezone.now() + datetime.timedelta(seconds=pause)
    Upload.objects.filter(pk=upload.pk, status=Status.RUNNING, job=upload.job).update(
        status=Status.QUEUED, sent=later
    )
    return pause


def again(uploads: list[uuid.UUID]) -> int:
    """Queue failed uploads anew, on a person's wish; return how many."""
    count = 0
    for upload in uploads:
        if Upload.objects.filter(pk=upload, status=Status.FAILED).update(
            status=Status.QUEUED, attempts=0, losses=0, error="", finished=None, sent=timezone.now()
        ):
            count += 1
            send(upload)
    return count


def sweep() -> int:
    """Send again what has lost its message, and end what was tried too often.

    Several workers may do it at once. Returns how many were sent.

    Raises:
        kombu.exceptions.OperationalError: the broker is away, as OSError may say too.
        django.db.Error: the database is away.
    """
    waiting = app.queue_length()
    requeue_lost(Q(started__lt=lease()))
    count = 0
    for pk, sent in lost(waiting):
        if Upload.objects.filter(still(pk, sent)).update(sent=timezone.now()):
            if not publish(pk):
                Upload.objects.filter(pk=pk, status=Status.QUEUED).update(sent=None)
                break
            count += 1
    if count:
        logger.info("sent %d uploads again", count)
    return count


def lost(waiting: int) -> list[tuple[uuid.UUID, datetime.datetime | None]]:
    """Return the uploads that nobody is going to work on, and when each was sent.

    Args:
        waiting: how many messages are in the broker's queue.
    """
    patience = LOST_IN_A_QUEUE_SECONDS if waiting else LOST_SECONDS
    before = timezone.now() - datetime.timedelta(seconds=patience)
    unsent = Q(sent=None) | Q(sent__lt=before)
    found = Upload.objects.filter(unsent, status=Status.QUEUED).order_by("created")
    return list(found.values_list("pk", "sent")[:SWEEP])


def still(pk: uuid.UUID, sent: datetime.datetime | None) -> Q:
    """Return what holds as long as no other worker has sent this upload."""
    return Q(pk=pk, sent=sent, status=Status.QUEUED)


def requeue_lost(which: Q) -> None:
    """Queue running uploads again whose worker was lost; fail those that lost their last one."""
    running = Upload.objects.filter(which, status=Status.RUNNING)
    counted = F("losses") + 1
    running.filter(losses__gte=MAX_LOSSES - 1).update(
        status=Status.FAILED, finished=timezone.now(), error=WORKERS_LOST, losses=counted
    )
    running.update(status=Status.QUEUED, sent=None, losses=counted)


def lease() -> datetime.datetime:
    """Return when a job that still runs must have started."""
    return timezone.now() - datetime.timedelta(seconds=settings.JOB_LEASE_SECONDS)
