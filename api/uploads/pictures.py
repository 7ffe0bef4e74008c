"""Looking at pictures: are they whole, of a known format and size; and making them small.

https://pillow.readthedocs.io/en/stable/reference/Image.html
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from celery.exceptions import SoftTimeLimitExceeded
from PIL import Image, ImageCms, ImageOps

from api.uploads.names import EXTENSIONS

THUMBNAIL_SIZE = (320, 320)
# EXIF's orientations from here on lie on their side.
SIDEWAYS = 5
ORIENTATION = 0x0112


class PictureError(Exception):
    """It is no picture that can be taken; the message is for the one who sent it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What was found in a file."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture without metadata."""

    format: str
    content: bytes


def examine(file: IO[bytes], max_megapixels: int) -> Picture:
    """Decode a picture to its end and say what it is.

    Args:
        file: the picture, of any content.
        max_megapixels: its largest size in million pixels, looked at before anything is decoded.

    Raises:
        PictureError: it is no picture of a known format, too large, or damaged.
    """
    with opened(file, max_megapixels) as image:
        image.load()
        width, height = image.size
        if image.getexif().get(ORIENTATION, 1) >= SIDEWAYS:
            width, height = height, width
        return Picture(str(image.format), width, height)


def shrink(file: IO[bytes], max_megapixels: int) -> Thumbnail:
    """Make a thumbnail: upright, in the colours of the web, without metadata.

    Raises:
        PictureError: as `examine`.
    """
    with opened(file, max_megapixels) as image:
        picture_format = "PNG" if image.format == "GIF" else str(image.format)
        # JPEG is decoded at a fraction of its size, which saves most of the work.
        image.draft(None, (2 * THUMBNAIL_SIZE[0], 2 * THUMBNAIL_SIZE[1]))
        image.thumbnail(THUMBNAIL_SIZE, reducing_gap=2.0)
        small = web_colours(ImageOps.exif_transpose(image), picture_format)
        # A new picture, which has nothing but the pixels of the old one.
        bare = Image.new(small.mode, small.size)
        bare.paste(small)
        output = io.BytesIO()
        options = {"quality": 82} if picture_format != "PNG" else {}
        bare.save(output, picture_format, optimize=True, **options)
        return Thumbnail(picture_format, output.getvalue())


def web_colours(image: Image.Image, picture_format: str) -> Image.Image:
    """Return the picture in sRGB, or grey, with transparency where it had some."""
    transparent = image.has_transparency_data and picture_format != "JPEG"
    mode = "RGBA" if transparent else "RGB"
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "RGBA", "CMYK"):
        # A profile that cannot be read is left out, as browsers do.
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode=mode
            )
            if converted is not None:
                return converted
    return image.convert("L" if image.mode in ("1", "L") else mode)


@contextmanager
def opened(file: IO[bytes], max_megapixels: int) -> Iterator[Image.Image]:
    """Open a picture; whatever a decoder makes of a damaged one is a PictureError."""
    file.seek(0)
    try:
        # Pillow's own limit on pixels stands behind ours; below it, it warns.
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(file, formats=tuple(EXTENSIONS)) as image,
        ):
            width, height = image.size
            if width * height > max_megapixels * 1_000_000:
                raise PictureError(
                    f"The picture is too large: {width} x {height} pixels, and the limit is "
                    f"{max_megapixels} million."
                )
            yield image
    except (PictureError, SoftTimeLimitExceeded, MemoryError):
        # Neither the time nor the memory says anything of the picture: the job is tried again.
        raise
    except Image.DecompressionBombError:
        raise PictureError(
            f"The picture is too large: the limit is {max_megapixels} million pixels."
        ) from None
    except Image.UnidentifiedImageError:
        raise PictureError(
            "This is no picture that can be taken: use JPEG, PNG, GIF or WebP."
        ) from None
    except Exception as error:
        # Decoders raise nearly anything: OSError, SyntaxError, struct.error, zlib.error...
        raise PictureError("The picture is damaged or cut off.") from error
