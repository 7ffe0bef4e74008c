"""Thumbnails: size, orientation, colours, metadata, and the formats that are accepted."""

import io
from contextlib import suppress

import pytest
from PIL import Image, ImageCms, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from demo.tests.images import make_decompression_bomb, make_image
from demo.uploads import names
from demo.uploads.images import ImageError, ImageInfo, examine, shrink
from demo.uploads.names import EXTENSIONS, SAME_AS

LIMIT = 40
Image.init()
WRITABLE = {*Image.SAVE, *Image.SAVE_ALL}


def make_thumbnail(content: bytes) -> Image.Image:
    """Return the thumbnail of an image."""
    return Image.open(io.BytesIO(shrink(io.BytesIO(content), LIMIT).content))


def test_thumbnail_has_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET CAMERA"
    exif.get_ifd(0x8825)[1] = "N"
    content = make_image("JPEG", (900, 600), exif=exif, comment=b"SECRET COMMENT")
    assert b"SECRET" in content

    thumbnail = shrink(io.BytesIO(content), LIMIT).content

    assert b"SECRET" not in thumbnail
    assert not Image.open(io.BytesIO(thumbnail)).getexif()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_thumbnail_is_upright_for_every_exif_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = make_image("JPEG", (800, 400), exif=exif)
    upright = (320, 160) if orientation < 5 else (160, 320)

    examined = examine(io.BytesIO(content), LIMIT)

    assert make_thumbnail(content).size == upright
    assert (examined.width > examined.height) is (orientation < 5)


def test_thumbnail_keeps_transparency() -> None:
    output = io.BytesIO()
    Image.new("RGBA", (500, 500), (255, 0, 0, 0)).save(output, "PNG")

    thumbnail = make_thumbnail(output.getvalue())

    assert (thumbnail.mode, thumbnail.getchannel("A").getextrema()) == ("RGBA", (0, 0))


def test_small_image_is_not_enlarged() -> None:
    assert make_thumbnail(make_image(size=(20, 10))).size == (20, 10)


@pytest.mark.parametrize("size", [(400, 300), (4000, 3000)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_every_pixel_mode_is_accepted(mode: str, size: tuple[int, int]) -> None:
    output = io.BytesIO()
    image_format = "JPEG" if mode == "CMYK" else "PNG"
    Image.new(mode, size).save(output, image_format)

    assert make_thumbnail(output.getvalue()).size == (320, 240)


def test_thumbnail_of_an_animation_is_its_first_frame() -> None:
    output = io.BytesIO()
    frames = [Image.new("RGB", (400, 300), colour) for colour in ("red", "blue")]
    frames[0].save(output, "GIF", save_all=True, append_images=frames[1:])

    thumbnail = make_thumbnail(output.getvalue())

    assert thumbnail.convert("RGB").getpixel((5, 5)) == (255, 0, 0)
    assert getattr(thumbnail, "n_frames", 1) == 1


def test_thumbnail_is_converted_to_srgb() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # sRGB with red and blue swapped.
    profile = profile.replace(b"rXYZ", b"____").replace(b"bXYZ", b"rXYZ").replace(b"____", b"bXYZ")
    output = io.BytesIO()
    Image.new("RGB", (400, 300), (200, 90, 0)).save(output, "PNG", icc_profile=profile)

    thumbnail = make_thumbnail(output.getvalue())

    assert thumbnail.getpixel((5, 5)) == (0, 90, 200)
    assert thumbnail.info.get("icc_profile") is None


def test_unreadable_colour_profile_is_ignored() -> None:
    assert make_thumbnail(make_image("JPEG", (400, 300), icc_profile=b"rubbish" * 40)).size == (
        320,
        240,
    )


def test_decompression_bomb_is_refused_by_its_size() -> None:
    with pytest.raises(ImageError, match="too large"):
        shrink(io.BytesIO(make_decompression_bomb()), LIMIT)
    with pytest.raises(ImageError, match="too large"):
        examine(io.BytesIO(make_decompression_bomb(9000, 9000)), LIMIT)


@pytest.mark.parametrize("image_format", [*EXTENSIONS, "MPO"])
def test_examining_an_image_decodes_no_pixel(
    monkeypatch: pytest.MonkeyPatch, image_format: str
) -> None:
    """Server processes read only the header; the worker detects damage behind it."""
    content = make_image(image_format, (1200, 900))
    cut = content if image_format == "WEBP" else content[: len(content) // 2]

    def fail(image: Image.Image) -> None:
        raise AssertionError("it was decoded")

    for plugin in (Image.Image, ImageFile.ImageFile, PngImageFile, GifImageFile, WebPImageFile):
        monkeypatch.setattr(plugin, "load", fail)

    examined = examine(io.BytesIO(cut), LIMIT)

    assert examined == ImageInfo(SAME_AS.get(image_format, image_format), 1200, 900)


def test_image_with_an_overlong_header_is_refused() -> None:
    jpeg = make_image()
    segments = b"\xff\xe5\x00\x02" * 2_400_000

    with pytest.raises(ImageError):
        examine(io.BytesIO(jpeg[:2] + segments + jpeg[2:]), LIMIT)


@pytest.mark.parametrize("image_format", sorted(WRITABLE))
def test_only_supported_formats_are_accepted(image_format: str) -> None:
    """For every format that Pillow can write on this machine."""
    content = io.BytesIO()
    for mode in ("RGB", "L", "1", "F"):
        with suppress(Exception):
            Image.new(mode, (64, 64)).save(content, image_format)
            break

    try:
        examined = examine(content, LIMIT)
    except ImageError:
        assert image_format not in {*EXTENSIONS, *SAME_AS}
    else:
        assert examined.format in EXTENSIONS
        assert Image.open(io.BytesIO(shrink(content, LIMIT).content)).format in EXTENSIONS


def test_multi_picture_jpeg_becomes_one_thumbnail() -> None:
    content = io.BytesIO()
    frames = [Image.new("RGB", (400, 300), colour) for colour in ("red", "blue")]
    frames[0].save(content, "MPO", save_all=True, append_images=frames[1:])

    assert examine(content, LIMIT) == ImageInfo("JPEG", 400, 300)
    thumbnail = make_thumbnail(content.getvalue())
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (320, 240))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\0b\n\u202e.jpg", "ab.jpg"),
        ("..\\\\..\\\\me.jpg", "me.jpg"),
        ("/etc/", "image"),
        ("\u200b", "image"),
        ("x" * 200 + "." + "y" * 200, "x" * 88 + "." + "y" * 11),
    ],
    ids=["control-characters", "windows-path", "folder", "invisible", "too-long"],
)
def test_display_name_is_cleaned_and_shortened(name: str, expected: str) -> None:
    assert names.shown(name) == expected
    assert len(expected) <= names.LONGEST
