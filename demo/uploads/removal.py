"""An upload that is deleted takes its files along."""

import logging
from functools import partial

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from demo.models import Upload

logger = logging.getLogger(__name__)


@receiver(post_delete, sender=Upload)
def remove_files(instance: Upload, **kwargs: object) -> None:
    """Remove the files once the row's removal is committed."""
    for name in (instance.image.name, instance.thumbnail.name):
        if name:
            transaction.on_commit(partial(remove, name))


def remove(name: str) -> None:
    """Remove one file; one that stays does no harm, so the request continues."""
    try:
        default_storage.delete(name)
    except Exception as error:
        logger.warning("the file %s could not be removed: %s", name, error)
