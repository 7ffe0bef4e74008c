"""What the worker does with an upload: its thumbnail and its checksum."""

import hashlib
import io

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from demo.models import Upload
from demo.uploads import names
from demo.uploads.images import Thumbnail, shrink
from demo.uploads.limits import within_limits


def work_on(upload: Upload) -> dict[str, str]:
    """Make the thumbnail and the SHA-256; done twice, there is still one thumbnail.

    Raises:
        ImageError: it cannot be made small, or only with too much time or memory.
        OSError: the file cannot be read, or the thumbnail not written; S3's client has its own.
    """
    with upload.image.open("rb") as file:
        original = file.read()
    checksum = hashlib.sha256(original).hexdigest()
    thumbnail = shrink_within_limits(original, settings.UPLOAD_MAX_MEGAPIXELS)
    name = names.thumbnail_file(upload.pk, thumbnail.format)
    content = ContentFile(thumbnail.content)
    content.content_type = names.content_type(thumbnail.format)  # for S3, which serves it
    replace(name, content)
    return {"thumbnail": name, "sha256": checksum}


def shrink_within_limits(content: bytes, max_megapixels: int) -> Thumbnail:
    """Make a thumbnail in a process of its own.

    Args:
        content: the image.
        max_megapixels: its largest size in million pixels.

    Raises:
        ImageError: as `images.shrink`, or it takes too much time or memory.
        OSError: the machine is too busy.
    """

    def work() -> bytes:
        small = shrink(io.BytesIO(content), max_megapixels)
        return small.format.encode() + b"\n" + small.content

    image_format, _, small = within_limits(work, max_megapixels).partition(b"\n")
    return Thumbnail(image_format.decode(), small)


def replace(name: str, content: ContentFile) -> None:
    """Keep a file under exactly this name, whatever an earlier attempt has left there."""
    default_storage.delete(name)
    kept = default_storage.save(name, content)
    if kept != name:
        # Another attempt at the same moment has made the same file.
        default_storage.delete(kept)
