"""The demo's tasks, as Celery finds them.

https://docs.celeryq.dev/en/stable/userguide/tasks.html
"""

import logging
from typing import Any

from celery import shared_task
from celery.exceptions import WorkerLostError
from django.utils import timezone

from demo.models import Upload
from demo.uploads.images import ImageError
from demo.uploads.removal import remove
from demo.uploads.work import work_on
from ops.tasks import DurableTask

logger = logging.getLogger(__name__)

Status = Upload.Status


class UploadTask(DurableTask):
    """Marks the upload as failed when its task has failed for good."""

    abstract = True
    # Another try would find the same image.
    final_exceptions = (ImageError,)

    def on_failed(self, error: Exception, /, upload_id: str) -> None:
        """Keep a reason for its owner; what else went wrong is in the log and in the task's row."""
        known = isinstance(error, (ImageError, WorkerLostError))
        reason = str(error) if known else "It could not be processed."
        Upload.objects.filter(pk=upload_id).exclude(status=Status.DONE).update(
            status=Status.FAILED, error=reason[:200], finished=timezone.now()
        )


# Longer than an image may take (demo/uploads/limits.py).
@shared_task(base=UploadTask, soft_time_limit=20, time_limit=25)
def process_upload(upload_id: str) -> None:
    """Make an upload's thumbnail and checksum.

    Raises:
        ImageError: the upload fails for good, without another try.
        OSError: the task is tried again; S3's client has its own errors.
    """
    upload = Upload.objects.filter(pk=upload_id).exclude(status=Status.DONE).first()
    if upload is None:
        logger.info("upload %s: nothing to do", upload_id)
        return
    result: dict[str, Any] = work_on(upload)
    done = Upload.objects.filter(pk=upload_id).update(
        status=Status.DONE, error="", finished=timezone.now(), **result
    )
    if done:
        logger.info("upload %s is done", upload_id)
    else:
        # Deleted meanwhile: its thumbnail must not stay.
        remove(result["thumbnail"])
