"""Checks the headers of images, and makes thumbnails.

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


class ImageError(Exception):
    """The image is not accepted; the message is for the client."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The image in a file."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image without metadata."""

    format: str
    content: bytes


def examine(file: IO[bytes], max_megapixels: int) -> ImageInfo:
    """Read an image's header and say what it is; no pixel is decoded.

    Args:
        file: the image, of any content.
        max_megapixels: its largest size in million pixels.

    Raises:
        ImageError: its format is not supported, too large, or its header is damaged.
    """
    with opened(header(file), max_megapixels) as image:
        width, height = image.size
        # Not a PNG's own method, which decodes all of it to find what comes after the pixels.
        if Image.Image.getexif(image).get(ORIENTATION, 1) >= SIDEWAYS:
            width, height = height, width
        return ImageInfo(format_of(image), width, height)


def header(file: IO[bytes]) -> IO[bytes]:
    """Return an image's first HEADER_BYTES; all of a WebP, whose parts are counted at once."""
    file.seek(0)
    beginning = file.read(HEADER_BYTES)
    return io.BytesIO(beginning + file.read() if beginning.startswith(b"RIFF") else beginning)


def format_of(image: Image.Image) -> str:
    """Return the name of an image's format, one of those that are accepted.

    Raises:
        ImageError: it is another one.
    """
    name = SAME_AS.get(str(image.format), str(image.format))
    if name not in EXTENSIONS:
        raise ImageError(UNSUPPORTED)
    return name


def shrink(file: IO[bytes], max_megapixels: int) -> Thumbnail:
    """Make a thumbnail: upright, in the colours of the web, without metadata.

    Args:
        file: the image, of any content.
        max_megapixels: its largest size in million pixels.

    Raises:
        ImageError: as `examine`.
    """
    with opened(file, max_megapixels) as image:
        image_format = "PNG" if image.format == "GIF" else format_of(image)
        # JPEG is decoded at a fraction of its size, which saves most of the work.
        image.draft(None, (2 * THUMBNAIL_SIZE[0], 2 * THUMBNAIL_SIZE[1]))
        # Pillow reduces no pixels of 16 bits.
        image.thumbnail(THUMBNAIL_SIZE, reducing_gap=None if image.mode.startswith("I;") else 2.0)
        small = web_colours(ImageOps.exif_transpose(image), image_format)
        # A new image, which has nothing but the pixels of the old one.
        bare = Image.new(small.mode, small.size)
        bare.paste(small)
        output = io.BytesIO()
        options = {"quality": 82} if image_format != "PNG" else {}
        bare.save(output, image_format, optimize=True, **options)
        return Thumbnail(image_format, output.getvalue())


def web_colours(image: Image.Image, image_format: str) -> Image.Image:
    """Return the image in sRGB, or grey, with transparency where it had some."""
    transparent = image.has_transparency_data and image_format != "JPEG"
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
    """Open an image.

    Args:
        file: the image, of any content.
        max_megapixels: its largest size in million pixels.

    Raises:
        ImageError: it is not supported or too large, or a decoder failed, in the block too.
        SoftTimeLimitExceeded, MemoryError: pass through, for the worker.
    """
    file.seek(0)
    try:
        # Pillow's own limit on pixels is a second one; below it, it warns.
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(file, formats=tuple(EXTENSIONS)) as image,
        ):
            width, height = image.size
            if width * height > max_megapixels * 1_000_000:
                raise ImageError(
                    f"The image is too large: {width} x {height} pixels, and the limit is "
                    f"{max_megapixels} million."
                )
            yield image
    except (ImageError, SoftTimeLimitExceeded, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise ImageError(
            f"The image is too large: the limit is {max_megapixels} million pixels."
        ) from None
    except Image.UnidentifiedImageError:
        raise ImageError(UNSUPPORTED) from None
    except Exception as error:
        # Decoders raise nearly anything: OSError, SyntaxError, struct.error, zlib.error...
        raise ImageError("The image is damaged or cut off.") from error
