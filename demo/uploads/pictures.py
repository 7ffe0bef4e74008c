"""Checks what pictures say of themselves, and makes them small.

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

from demo.uploads.names import EXTENSIONS, SAME_AS

THUMBNAIL_SIZE = (320, 320)
# EXIF's orientations from here on lie on their side.
SIDEWAYS = 5
ORIENTATION = 0x0112
# What comes before the pixels, such as a camera's data; more would keep a server's process busy.
HEADER_BYTES = 2**20
UNSUPPORTED = "Unsupported image: use JPEG, PNG, GIF or WebP."


class PictureError(Exception):
    """The image is not accepted; the message is for the client."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The image in a file."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture without metadata."""

    format: str
    content: bytes


def examine(file: IO[bytes], max_megapixels: int) -> Picture:
    """Read a picture's header and say what it is; no pixel is decoded.

    Args:
        file: the picture, of any content.
        max_megapixels: its largest size in million pixels.

    Raises:
        PictureError: it is no picture of a known format, too large, or its header is damaged.
    """
    with opened(header(file), max_megapixels) as image:
        width, height = image.size
        # Not a PNG's own method, which decodes all of it to find what comes after the pixels.
        if Image.Image.getexif(image).get(ORIENTATION, 1) >= SIDEWAYS:
            width, height = height, width
        return Picture(format_of(image), width, height)


def header(file: IO[bytes]) -> IO[bytes]:
    """Return the beginning of a picture; all of a WebP, whose parts are counted at once."""
    file.seek(0)
    beginning = file.read(HEADER_BYTES)
    return io.BytesIO(beginning + file.read() if beginning.startswith(b"RIFF") else beginning)


def format_of(image: Image.Image) -> str:
    """Return the name of a picture's format, one of those that are accepted.

    Raises:
        PictureError: it is another one.
    """
    name = SAME_AS.get(str(image.format), str(image.format))
    if name not in EXTENSIONS:
        raise PictureError(UNSUPPORTED)
    return name


def shrink(file: IO[bytes], max_megapixels: int) -> Thumbnail:
    """Make a thumbnail: upright, in the colours of the web, without metadata.

    Raises:
        PictureError: as `examine`.
    """
    with opened(file, max_megapixels) as image:
        picture_format = "PNG" if image.format == "GIF" else format_of(image)
        # JPEG is decoded at a fraction of its size, which saves most of the work.
        image.draft(None, (2 * THUMBNAIL_SIZE[0], 2 * THUMBNAIL_SIZE[1]))
        # Pillow reduces no pixels of 16 bits.
        image.thumbnail(THUMBNAIL_SIZE, reducing_gap=None if image.mode.startswith("I;") else 2.0)
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
        # Pillow's own limit on pixels is a second one; below it, it warns.
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(file, formats=tuple(EXTENSIONS)) as image,
        ):
            width, height = image.size
            if width * height > max_megapixels * 1_000_000:
                raise PictureError(
                    f"The image is too large: {width} x {height} pixels, and the limit is "
                    f"{max_megapixels} million."
                )
            yield image
    except (PictureError, SoftTimeLimitExceeded, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise PictureError(
            f"The image is too large: the limit is {max_megapixels} million pixels."
        ) from None
    except Image.UnidentifiedImageError:
        raise PictureError(UNSUPPORTED) from None
    except Exception as error:
        # Decoders raise nearly anything: OSError, SyntaxError, struct.error, zlib.error...
        raise PictureError("The image is damaged or cut off.") from error
