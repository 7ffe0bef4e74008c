"""Stores an upload: a file, a row and a task, or none of them."""

import logging
import uuid
from contextlib import suppress

from django.contrib.auth.models import AbstractBaseUser
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import transaction

from demo.models import Upload
from demo.tasks import process_upload
from demo.uploads import names
from demo.uploads.images import ImageInfo

logger = logging.getLogger(__name__)


def store_upload(owner: AbstractBaseUser, file: File, info: ImageInfo) -> Upload:
    """Store an examined image, and send it to the worker once its row is committed.

    If the row cannot be written, the file is removed again: a refused upload is not kept.

    Args:
        owner: whose it is.
        file: the image, with the name that the user gave it.
        info: what `images.examine` returned.

    Raises:
        django.db.Error: the row cannot be written.
        OSError: the file cannot be stored; S3's client has its own errors.
    """
    upload = Upload(
        id=uuid.uuid4(),
        owner=owner,
        name=names.shown(file.name or ""),
        bytes=file.size,
        width=info.width,
        height=info.height,
    )
    file.seek(0)
    content = File(file)
    content.content_type = names.content_type(info.format)  # for S3, which serves it
    wanted = names.image_file(upload.id, info.format)
    written = False
    try:
        upload.image.name = default_storage.save(wanted, content)
        with transaction.atomic():
            upload.save(force_insert=True)
            process_upload.delay(str(upload.id))
            written = True
    except BaseException:
        # Of a file that was begun, too.
        with suppress(Exception):
            default_storage.delete(upload.image.name or wanted)
        if written:
            refuse(upload.id)
        raise
    return upload


def refuse(upload: uuid.UUID) -> None:
    """Remove a row whose COMMIT failed: the database may have done it, and not have said so.

    It may be down, or still committing, so the worker removes the row as well.
    """
    with suppress(Exception):
        default_storage.save(names.refused_file(upload), ContentFile(b""))
    with suppress(Exception):
        Upload.objects.filter(pk=upload).delete()


def remove_refused() -> int:
    """Remove the rows that are left of refused uploads; return how many.

    Raises:
        django.db.Error: the database is down.
        OSError: the storage is down; S3's client has its own errors.
    """
    try:
        _, refused = default_storage.listdir(names.REFUSED)
    except FileNotFoundError:
        return 0
    count = 0
    for name in refused:
        with suppress(ValueError):
            count += Upload.objects.filter(pk=uuid.UUID(name)).delete()[0]
        default_storage.delete(f"{names.REFUSED}/{name}")
    if count:
        logger.info("removed %d refused uploads", count)
    return count
