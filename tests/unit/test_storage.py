"""Uploaded files on disk: a saved file survives a power failure."""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.uploadedfile import TemporaryUploadedFile

from ops.storage.local import DurableFileStorage

CONTENT = b"x" * 100_000


def file_in_memory() -> File:
    """Return a file that Django has in memory."""
    return ContentFile(CONTENT)


def file_on_disk() -> File:
    """Return a file that Django has on disk, and only moves."""
    file = TemporaryUploadedFile("long.jpg", "image/jpeg", len(CONTENT), None)
    file.write(CONTENT)
    file.flush()
    return file


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return inode and size of each synced file, in order."""
    seen: list[tuple[int, int]] = []
    fsync = os.fsync

    def record_fsync(opened: int) -> None:
        fsync(opened)
        result = os.fstat(opened)
        seen.append((result.st_ino, result.st_size))

    monkeypatch.setattr(os, "fsync", record_fsync)
    return seen


@pytest.mark.parametrize("file", [file_in_memory, file_on_disk])
@pytest.mark.parametrize(
    ("name", "folders"), [("file.jpg", 1), ("new/file.jpg", 2), ("a/b/c/file.jpg", 4)]
)
def test_uploaded_file_and_its_new_folders_are_synced_to_disk(
    file: Callable[[], File], name: str, folders: int, synced: list[tuple[int, int]], tmp_path: Path
) -> None:
    with file() as content:
        kept = DurableFileStorage(location=tmp_path).save(name, content)

    path = tmp_path / kept
    assert path.read_bytes() == CONTENT
    assert synced[0] == (path.stat().st_ino, len(CONTENT))
    assert [number for number, _ in synced[1:]] == [
        folder.stat().st_ino for folder in list(path.parents)[:folders]
    ]


def test_uploaded_file_with_a_used_name_gets_another_name(
    synced: list[tuple[int, int]], tmp_path: Path
) -> None:
    storage = DurableFileStorage(location=tmp_path)

    first, second = (storage.save("file.jpg", file_in_memory()) for _ in range(2))

    assert first != second
    assert [number for number, _ in synced[::2]] == [
        (tmp_path / name).stat().st_ino for name in (first, second)
    ]


def test_upload_storage_leaves_no_file_open(tmp_path: Path) -> None:
    DurableFileStorage(location=tmp_path).save("a/file.jpg", file_in_memory())

    mine = {identity(path.stat()) for path in (tmp_path, *tmp_path.rglob("*"))}
    assert len(mine) == 3
    assert not mine & open_files()


def identity(status: os.stat_result) -> tuple[int, int]:
    """Return device and inode."""
    return status.st_dev, status.st_ino


def open_files() -> set[tuple[int, int]]:
    """Return the files and folders that this process has open now."""
    result = set()
    for file in Path("/dev/fd").iterdir():
        # The descriptor of the listing is already closed.
        with suppress(OSError):
            result.add(identity(os.fstat(int(file.name))))
    return result


@pytest.mark.parametrize(("code", "kept"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_upload_storage_supports_a_share_that_cannot_sync_folders(
    code: int, kept: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(opened: int) -> None:
        if stat.S_ISDIR(os.fstat(opened).st_mode):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)

    with nullcontext() if kept else pytest.raises(OSError, match=os.strerror(code)):
        DurableFileStorage(location=tmp_path).save("file.jpg", file_in_memory())
