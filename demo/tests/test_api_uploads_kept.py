"""/api/uploads/: a file is kept if and only if its row is."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection, utils
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from demo import intake
from demo.models import Upload
from demo.tests.images import make_image
from demo.tests.uploads import files, send

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media", "closed_pools")]
User = get_user_model()


def test_failed_insert_leaves_no_file(
    signed_in: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(upload: Upload, **options: Any) -> None:
        raise DatabaseError("hidden")

    monkeypatch.setattr(Upload, "save", fail)
    signed_in.raise_request_exception = False

    assert send(signed_in, make_image()).status_code == 500
    assert files(media) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("atomic_requests", [True, False])
def test_upload_is_removed_after_a_failed_commit(
    signed_in: Client,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
    atomic_requests: bool,
) -> None:
    """Both if the commit took effect and if it did not."""
    commit = connection.commit
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic_requests)

    def lose_connection(*_: object) -> None:
        raise utils.OperationalError(2013, "Lost connection to MySQL server during query")

    def commit_without_reply() -> None:
        if committed:
            commit()
        # The database is down until monkeypatch.undo().
        monkeypatch.setattr(connection, "cursor", lose_connection)
        lose_connection()

    monkeypatch.setattr(connection, "commit", commit_without_reply)

    assert send(signed_in, make_image()).status_code == 503
    assert not [name for name in files(media) if not name.startswith("refused")]
    monkeypatch.undo()
    connection.close()
    assert Upload.objects.count() == committed
    assert intake.remove_refused() == committed
    assert (Upload.objects.count(), files(media)) == (0, [])
    assert intake.remove_refused() == 0


def test_unwritable_media_folder_answers_503(
    signed_in: Client, media: Path, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.MEDIA_ROOT = tmp_path / "file"

    answer = send(signed_in, make_image())

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "cannot be stored right now" in answer.json()["detail"]
    assert not Upload.objects.exists()


def test_file_is_fsynced_before_its_row_is_inserted(
    signed_in: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power failure could lose the file of an upload answered with 201."""
    content = make_image()
    events: list[str | int | tuple[int, int]] = []
    fsync = os.fsync

    def record_fsync(opened: int) -> None:
        fsync(opened)
        info = os.fstat(opened)
        is_folder = stat.S_ISDIR(info.st_mode)
        events.append(info.st_ino if is_folder else (info.st_ino, info.st_size))

    def record_insert(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith("INSERT") and Upload._meta.db_table in sql:
            events.append("row")
        return execute(sql, *rest)

    monkeypatch.setattr(os, "fsync", record_fsync)
    with connection.execute_wrapper(record_insert):
        answer = send(signed_in, content)

    file = media / "uploads" / f"{answer.json()['id']}.jpg"
    # The file, its folder, and the parent of that folder, which is new too.
    folders = [path.stat().st_ino for path in (media / "uploads", media)]
    assert events == [(file.stat().st_ino, len(content)), *folders, "row"]


def test_failed_fsync_answers_503_and_keeps_no_file(
    signed_in: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(opened: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)

    assert send(signed_in, make_image()).status_code == 503
    assert files(media) == []
    assert not Upload.objects.exists()


def test_deleting_an_upload_deletes_its_files(
    signed_in: Client,
    media: Path,
    worker: None,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        send(signed_in, make_image())
    assert len(files(media)) == 2

    with django_capture_on_commit_callbacks(execute=True):
        User.objects.all().delete()

    assert files(media) == []
