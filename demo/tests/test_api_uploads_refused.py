"""/api/uploads/: bodies that are refused, and file names that are cleaned."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from demo.models import Upload
from demo.tests.images import HTML, SVG, make_decompression_bomb, make_image
from demo.tests.uploads import PATH, files, send

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media", "closed_pools")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no image", "Unsupported image"),
        (SVG, "Unsupported image"),
        (HTML, "Unsupported image"),
        (make_image()[:100], "The image is damaged or cut off."),
        (make_image("PNG")[:30], "Unsupported image"),
        (make_image("WEBP")[:-20], "The image is damaged or cut off."),
        (b"\xff\xd8\xff", "Unsupported image"),
        (make_image("BMP"), "Unsupported image"),
        (make_decompression_bomb(), "The image is too large: "),
        (b"", "The submitted file is empty."),
    ],
    ids=[
        "text",
        "svg",
        "html",
        "cut-off-jpeg",
        "cut-off-png",
        "cut-off-webp",
        "jpeg-signature-only",
        "bmp",
        "bomb",
        "empty",
    ],
)
def test_unsupported_or_damaged_image_is_refused(
    signed_in: Client, media: Path, content: bytes, message: str
) -> None:
    answer = send(signed_in, content, "innocent.jpg")

    assert answer.status_code == 400
    assert answer.json()["image"][0].startswith(message)
    assert files(media) == []
    assert not Upload.objects.exists()


def test_image_above_upload_max_megapixels_is_refused(
    signed_in: Client, settings: Settings
) -> None:
    settings.UPLOAD_MAX_MEGAPIXELS = 1

    answer = send(signed_in, make_image("PNG", (1001, 1000)))

    assert answer.status_code == 400
    assert "1001 x 1000 pixels, and the limit is 1 million" in answer.json()["image"][0]


def test_image_above_upload_max_mb_is_refused_with_413(
    signed_in: Client, settings: Settings, media: Path
) -> None:
    settings.UPLOAD_MAX_MB = 1
    content = make_image() + bytes(1_000_001)

    answer = send(signed_in, content)

    assert answer.status_code == 413
    assert answer.json() == {"detail": "The image is too large: the limit is 1 MB."}
    assert files(media) == []


def test_request_with_too_large_content_length_is_refused_unread(signed_in: Client) -> None:
    class Unread(io.BytesIO):
        def read(self, *args: Any) -> bytes:
            raise AssertionError("it was read")

    answer = signed_in.generic(
        "POST",
        PATH,
        content_type="multipart/form-data; boundary=x",
        CONTENT_LENGTH="99000000",
        **{"wsgi.input": Unread()},
    )

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("form", "message"),
    [({}, "No file was submitted."), ({"image": "text"}, "The submitted data was not a file.")],
)
def test_form_without_a_file_is_refused(
    signed_in: Client, form: dict[str, str], message: str
) -> None:
    answer = signed_in.post(PATH, form)

    assert answer.status_code == 400
    assert message in answer.json()["image"][0]


def test_json_upload_is_refused_with_415(signed_in: Client) -> None:
    answer = signed_in.post(PATH, {"image": "x"}, content_type="application/json")

    assert answer.status_code == 415


@pytest.mark.parametrize("body", [b"", b"garbage", b"--x\r\nContent-Disposition: form-data"])
def test_malformed_form_is_refused(signed_in: Client, body: bytes) -> None:
    answer = signed_in.generic("POST", PATH, body, content_type="multipart/form-data; boundary=x")

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd.jpg", "passwd.jpg"),
        ("C:\\\\photos\\\\me.jpg", "me.jpg"),
        ("a\tb\u202egpj.exe.jpg", "abgpj.exe.jpg"),
        ("snow \u2603  man.png", "snow \u2603 man.png"),
        ("x" * 300 + ".jpeg", "x" * 95 + ".jpeg"),
        ("<b>&.jpg", "<b>&.jpg"),
        (".jpg", "jpg"),
    ],
)
def test_file_name_is_cleaned_for_display_and_not_used_on_disk(
    signed_in: Client, media: Path, name: str, shown: str
) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="'
        + name.encode()
        + b'"\r\nContent-Type: image/jpeg\r\n\r\n'
        + make_image()
        + b"\r\n--x--\r\n"
    )

    answer = signed_in.generic("POST", PATH, body, content_type="multipart/form-data; boundary=x")

    assert answer.status_code == 201, answer.content
    assert answer.json()["name"] == shown
    assert files(media) == [f"uploads/{answer.json()['id']}.jpg"]
