"""What tells that uploaded files cannot be kept or read at present."""

from django.core.files.storage import FileSystemStorage, Storage
from django.utils.functional import LazyObject


def is_local(storage: Storage | LazyObject) -> bool:
    """Tell whether the files are on this machine's disk."""
    return isinstance(storage, FileSystemStorage)


def is_outage(error: Exception) -> bool:
    """Tell whether `error` means that the disk or S3 is away, rather than a mistake of ours."""
    # S3's client is not imported where it is not used: it takes a moment and much memory.
    return isinstance(error, OSError) or type(error).__module__.startswith(("botocore", "boto3"))
