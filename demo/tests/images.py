"""Images for tests: valid, slow to decode, and hostile."""

import io
import random
import struct
import zlib

from PIL import Image


def make_image(
    image_format: str = "JPEG", size: tuple[int, int] = (640, 480), **options: object
) -> bytes:
    """Return an image file with random noise, so that no two are equal."""
    image = Image.effect_noise((max(size[0] // 8, 1), max(size[1] // 8, 1)), 90)
    mode = {"GIF": "P", "JPEG": "RGB", "MPO": "RGB"}.get(image_format, "RGBA")
    output = io.BytesIO()
    tint = Image.new("RGB", image.size, tuple(random.randbytes(3)))
    mixed = Image.blend(image.convert("RGB"), tint, 0.5).resize(size)
    mixed.convert(mode).save(output, image_format, **options)
    return output.getvalue()


def make_slow_image() -> bytes:
    """Return a small PNG of many pixels, which takes a worker about a second."""
    output = io.BytesIO()
    Image.new("RGBA", (6200, 6200), (*random.randbytes(3), 200)).save(output, "PNG")
    return output.getvalue()


def make_costly_jpeg() -> bytes:
    """Return a JPEG of 277 kB that takes a minute to decode: one large scan, repeated."""
    output = io.BytesIO()
    Image.new("L", (6300, 6300)).save(output, "JPEG", quality=5, progressive=True)
    jpeg = output.getvalue()
    scan = jpeg.rfind(b"\xff\xda")
    return jpeg[:-2] + jpeg[scan:-2] * 2000 + b"\xff\xd9"


def make_decompression_bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """Return a small PNG that decodes to a huge image: every byte is the same."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"
