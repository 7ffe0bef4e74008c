"""Background jobs, as Celery finds them.

https://docs.celeryq.dev/en/stable/userguide/tasks.html
"""

import logging
from uuid import UUID

from celery import Task

from demo.models import Upload
from demo.uploads import jobs
from demo.uploads.pictures import PictureError
from demo.uploads.removal import remove
from demo.uploads.work import work_on
from ops.celery import app

logger = logging.getLogger(__name__)


@app.task(name=jobs.TASK, bind=True)
def process_upload(task: Task, upload_id: str) -> None:
    """Make an upload's thumbnail and checksum; what goes wrong is tried again after a pause."""
    upload = jobs.claim(UUID(upload_id), job=task.request.id or "")
    if upload is None:
        logger.info("upload %s: nothing to do", upload_id)
        return
    try:
        result = work_on(upload)
    except PictureError as error:
        jobs.fail(upload, str(error))
        logger.warning("upload %s failed: %s", upload_id, error)
    except Exception as error:
        pause = jobs.give_back(upload)
        if not pause:
            logger.exception("upload %s failed after %d attempts", upload_id, upload.attempts)
            return
        logger.warning(
            "upload %s: attempt %d of %d went wrong (%s: %s); again in %d s",
            *(upload_id, upload.attempts, jobs.MAX_ATTEMPTS, type(error).__name__, error, pause),
        )
        raise task.retry(exc=error, countdown=pause, max_retries=None) from None
    else:
        if jobs.finish(upload, result):
            logger.info("upload %s is done", upload_id)
        elif not Upload.objects.filter(pk=upload.pk).exists():
            # Deleted meanwhile: its thumbnail must not stay.
            remove(result.thumbnail)
