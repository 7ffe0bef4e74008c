"""How uploaded files are kept, and which errors mean that they cannot be stored right now."""

import errno
import os
from pathlib import Path

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage
from django.utils.functional import LazyObject


class DurableFileStorage(FileSystemStorage):
    """Files on this machine's disk, which a power failure does not take back.

    A row is on the disk once it is committed. So a file has to be there before: its content, and
    its name in its folder, which may be new in the one above. Otherwise the system writes both when
    it likes, up to half a minute later.
    """

    def _save(self, name: str, content: File) -> str:
        """Keep a file, and return its name when the disk has it."""
        kept = super()._save(name, content)
        location = Path(self.location)
        file = location / kept
        sync(file)
        for folder in file.parents:
            sync_folder(folder)
            if folder == location:
                break
        return kept


def sync(path: Path) -> None:
    """Wait until the disk has what was written to a file or a folder.

    https://man7.org/linux/man-pages/man2/fsync.2.html

    Raises:
        OSError: it cannot be opened, or the disk does not take it.
    """
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, where the file system supports it.

    Raises:
        OSError: as `sync`.
    """
    try:
        sync(folder)
    except OSError as error:
        # A network share may refuse, and flushes itself or not at all.
        if error.errno != errno.EINVAL:
            raise


def is_local(storage: Storage | LazyObject) -> bool:
    """Return whether the files are on this machine's disk."""
    return isinstance(storage, FileSystemStorage)


def is_outage(error: Exception) -> bool:
    """Return whether `error` means that the disk or S3 is down, rather than a bug."""
    # S3's client is not imported where it is not used: it takes a moment and much memory.
    return isinstance(error, OSError) or type(error).__module__.startswith(("botocore", "boto3"))
