"""Thumbnails: upright, small, in the right colours, and without what the camera wrote."""

import io
from contextlib import suppress

import pytest
from PIL import Image, ImageCms, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from demo.tests.pictures import bomb, picture
from demo.uploads import names
from demo.uploads.names import EXTENSIONS, SAME_AS
from demo.uploads.pictures import Picture, PictureError, examine, shrink

LIMIT = 40
Image.init()
WRITABLE = {*Image.SAVE, *Image.SAVE_ALL}


def shrunk(content: bytes) -> Image.Image:
    """Return the thumbnail of a picture."""
    return Image.open(io.BytesIO(shrink(io.BytesIO(content), LIMIT).content))


def test_metadata_stays_behind() -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET CAMERA"
    exif.get_ifd(0x8825)[1] = "N"
    content = picture("JPEG", (900, 600), exif=exif, comment=b"SECRET COMMENT")
    assert b"SECRET" in content

    small = shrink(io.BytesIO(content), LIMIT).content

    assert b"SECRET" not in small
    assert not Image.open(io.BytesIO(small)).getexif()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_that_was_held_askew_gives_an_upright_thumbnail(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = picture("JPEG", (800, 400), exif=exif)
    upright = (320, 160) if orientation < 5 else (160, 320)

    found = examine(io.BytesIO(content), LIMIT)

    assert shrunk(content).size == upright
    assert (found.width > found.height) is (orientation < 5)


def test_transparency_is_kept() -> None:
    output = io.BytesIO()
    Image.new("RGBA", (500, 500), (255, 0, 0, 0)).save(output, "PNG")

    small = shrunk(output.getvalue())

    assert (small.mode, small.getchannel("A").getextrema()) == ("RGBA", (0, 0))


def test_a_small_picture_is_not_made_larger() -> None:
    assert shrunk(picture(size=(20, 10))).size == (20, 10)


@pytest.mark.parametrize("size", [(400, 300), (4000, 3000)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_pixel_is_accepted(mode: str, size: tuple[int, int]) -> None:
    output = io.BytesIO()
    picture_format = "JPEG" if mode == "CMYK" else "PNG"
    Image.new(mode, size).save(output, picture_format)

    assert shrunk(output.getvalue()).size == (320, 240)


def test_an_animation_s_first_picture_is_taken() -> None:
    output = io.BytesIO()
    frames = [Image.new("RGB", (400, 300), colour) for colour in ("red", "blue")]
    frames[0].save(output, "GIF", save_all=True, append_images=frames[1:])

    small = shrunk(output.getvalue())

    assert small.convert("RGB").getpixel((5, 5)) == (255, 0, 0)
    assert getattr(small, "n_frames", 1) == 1


def test_colours_are_the_web_s() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # sRGB with its red and its blue exchanged.
    profile = profile.replace(b"rXYZ", b"____").replace(b"bXYZ", b"rXYZ").replace(b"____", b"bXYZ")
    output = io.BytesIO()
    Image.new("RGB", (400, 300), (200, 90, 0)).save(output, "PNG", icc_profile=profile)

    small = shrunk(output.getvalue())

    assert small.getpixel((5, 5)) == (0, 90, 200)
    assert small.info.get("icc_profile") is None


def test_a_profile_that_cannot_be_read_is_left_out() -> None:
    assert shrunk(picture("JPEG", (400, 300), icc_profile=b"rubbish" * 40)).size == (320, 240)


def test_a_bomb_is_not_decoded() -> None:
    with pytest.raises(PictureError, match="too large"):
        shrink(io.BytesIO(bomb()), LIMIT)
    with pytest.raises(PictureError, match="too large"):
        examine(io.BytesIO(bomb(9000, 9000)), LIMIT)


@pytest.mark.parametrize("picture_format", [*EXTENSIONS, "MPO"])
def test_no_pixel_is_decoded_for_a_request(
    monkeypatch: pytest.MonkeyPatch, picture_format: str
) -> None:
    """A server's process only reads the header; what is cut off after it is the worker's to see."""
    content = picture(picture_format, (1200, 900))
    cut = content if picture_format == "WEBP" else content[: len(content) // 2]

    def fail(image: Image.Image) -> None:
        raise AssertionError("it was decoded")

    for plugin in (Image.Image, ImageFile.ImageFile, PngImageFile, GifImageFile, WebPImageFile):
        monkeypatch.setattr(plugin, "load", fail)

    found = examine(io.BytesIO(cut), LIMIT)

    assert found == Picture(SAME_AS.get(picture_format, picture_format), 1200, 900)


def test_long_header_is_not_read_to_its_end() -> None:
    jpeg = picture()
    segments = b"\xff\xe5\x00\x02" * 2_400_000

    with pytest.raises(PictureError):
        examine(io.BytesIO(jpeg[:2] + segments + jpeg[2:]), LIMIT)


@pytest.mark.parametrize("picture_format", sorted(WRITABLE))
def test_every_format_is_accepted_or_refused(picture_format: str) -> None:
    """Of all that Pillow writes here, by what it then reads it as."""
    content = io.BytesIO()
    for mode in ("RGB", "L", "1", "F"):
        with suppress(Exception):
            Image.new(mode, (64, 64)).save(content, picture_format)
            break

    try:
        found = examine(content, LIMIT)
    except PictureError:
        assert picture_format not in {*EXTENSIONS, *SAME_AS}
    else:
        assert found.format in EXTENSIONS
        assert Image.open(io.BytesIO(shrink(content, LIMIT).content)).format in EXTENSIONS


def test_several_images_in_one_jpeg_become_one_thumbnail() -> None:
    content = io.BytesIO()
    frames = [Image.new("RGB", (400, 300), colour) for colour in ("red", "blue")]
    frames[0].save(content, "MPO", save_all=True, append_images=frames[1:])

    assert examine(content, LIMIT) == Picture("JPEG", 400, 300)
    small = shrunk(content.getvalue())
    assert (small.format, small.size) == ("JPEG", (320, 240))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\0b\n\u202e.jpg", "ab.jpg"),
        ("..\\\\..\\\\me.jpg", "me.jpg"),
        ("/etc/", "picture"),
        ("\u200b", "picture"),
        ("x" * 200 + "." + "y" * 200, "x" * 88 + "." + "y" * 11),
    ],
)
def test_a_name_is_shown_clean(name: str, expected: str) -> None:
    """Whatever the web framework has left of it."""
    assert names.shown(name) == expected
    assert len(expected) <= names.LONGEST
