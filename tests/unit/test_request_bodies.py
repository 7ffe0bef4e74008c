"""How request bodies are read: files on disk, JSON up to a limit."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from django.http import HttpRequest
from django.test import Client, RequestFactory

FORM = "multipart/form-data; boundary=b"


def request_with(content: bytes) -> HttpRequest:
    """Return a request with a form of one file."""
    return RequestFactory().post("/", {"file": SimpleUploadedFile("a.bin", content, "a/b")})


@pytest.mark.parametrize("limit", [0, 100_000])
@pytest.mark.parametrize("size", [0, 10, 200_001])
def test_uploaded_file_is_complete_in_memory_and_on_disk(
    settings: Any, tmp_path: Path, size: int, limit: int
) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = limit
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    content = os.urandom(size)

    request = request_with(content)
    file = request.FILES["file"]

    assert isinstance(file, UploadedFile)
    assert (file.name, file.size, file.content_type) == ("a.bin", size, "a/b")
    assert b"".join(file.chunks()) == content
    # The file on disk has no name, so a killed process leaves none.
    assert file.file._rolled is (size > limit)
    assert list(tmp_path.iterdir()) == []
    request.close()
    assert file.closed


def test_large_upload_fails_without_the_temporary_folder(settings: Any) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    settings.FILE_UPLOAD_TEMP_DIR = "/nonexistent"

    with pytest.raises(OSError) as raised:
        _ = request_with(bytes(1000)).FILES

    assert raised.value.errno == errno.ENOENT


def test_truncated_upload_leaves_no_file(settings: Any, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(1000)

    request = RequestFactory().generic("POST", "/", body, FORM)
    _ = request.FILES

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extra", [0, 1])
def test_json_body_above_the_limit_is_413(
    client: Client, settings: Any, extra: int, db: Any
) -> None:
    """It is read into memory, so UPLOAD_MAX_MB does not raise its limit."""
    settings.UPLOAD_MAX_MB = 50
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 3 * 2**20
    body = b'{"username": "a"}'.ljust(3 * 2**20 + extra)

    answer = client.post("/api/token/", body, content_type="application/json")

    if extra:
        assert answer.status_code == 413
        detail = "The request is too large: the limit without files is 3 MB."
        assert answer.json() == {"detail": detail}
    else:
        assert answer.status_code == 400
