"""What an uploaded image is called: for people, and on the disk."""

import unicodedata
from pathlib import PurePosixPath
from uuid import UUID

LONGEST = 100
NAMELESS = "image"
# The folder of uploads whose row may have to be removed.
REFUSED = "refused"

# What each format's files are called; nginx's mime.types knows them all.
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WEBP": "webp"}
# Pillow's other names for them: an MPO is a JPEG with more JPEGs after it, as cameras write it.
SAME_AS = {"MPO": "JPEG"}


def shown(name: str) -> str:
    """Return a client's file name as it may be shown: no path, no invisible characters, short."""
    last = name.replace("\\", "/").rpartition("/")[2]
    # Categories C: control, format (which can turn the reading direction), surrogate, unassigned.
    visible = "".join(c for c in last if not unicodedata.category(c).startswith("C"))
    clean = " ".join(visible.split()).strip(". ")
    path = PurePosixPath(clean)
    if len(clean) > LONGEST:
        suffix = path.suffix[:12]
        clean = clean[: LONGEST - len(suffix)] + suffix
    return clean or NAMELESS


def image_file(upload: UUID, image_format: str) -> str:
    """Return the name of the original's file; nothing of the client's own name is in it."""
    return f"uploads/{upload}.{EXTENSIONS[image_format]}"


def refused_file(upload: UUID) -> str:
    """Return the name of the empty file that says that an upload was refused."""
    return f"{REFUSED}/{upload}"


def thumbnail_file(upload: UUID, image_format: str) -> str:
    """Return the name of the thumbnail's file: one for each upload."""
    return f"thumbnails/{upload}.{EXTENSIONS[image_format]}"


def content_type(image_format: str) -> str:
    """Return the content type of an image, from its content rather than its name."""
    return f"image/{image_format.lower()}"
