"""/api/uploads/: a file is kept exactly if its row is."""

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
from demo.tests.pictures import picture
from demo.tests.uploads import files, send

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media", "closed_pools")]
User = get_user_model()


def test_a_row_that_cannot_be_written_leaves_no_file(
    signed_in: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(upload: Upload, **options: Any) -> None:
        raise DatabaseError("hidden")

    monkeypatch.setattr(Upload, "save", fail)
    signed_in.raise_request_exception = False

    assert send(signed_in, picture()).status_code == 500
    assert files(media) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("atomic_requests", [True, False])
def test_an_upload_whose_commit_failed_is_not_kept(
    signed_in: Client,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
    atomic_requests: bool,
) -> None:
    """Whether the database has done it or not, and once it is back."""
    commit = connection.commit
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic_requests)

    def away(*_: object) -> None:
        raise utils.OperationalError(2013, "Lost connection to MySQL server during query")

    def unheard() -> None:
        if committed:
            commit()
        # Until all is undone, the database is down.
        monkeypatch.setattr(connection, "cursor", away)
        away()

    monkeypatch.setattr(connection, "commit", unheard)

    assert send(signed_in, picture()).status_code == 503
    assert not [name for name in files(media) if not name.startswith("refused")]
    monkeypatch.undo()
    connection.close()
    assert Upload.objects.count() == committed
    assert intake.remove_refused() == committed
    assert (Upload.objects.count(), files(media)) == (0, [])
    assert intake.remove_refused() == 0


def test_a_folder_that_cannot_be_written_is_said(
    signed_in: Client, media: Path, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.MEDIA_ROOT = tmp_path / "file"

    answer = send(signed_in, picture())

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "cannot be kept at present" in answer.json()["detail"]
    assert not Upload.objects.exists()


def test_the_disk_has_the_file_before_there_is_a_row(
    signed_in: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power failure leaves a row without its file, which was answered with 201."""
    content = picture()
    happened: list[str | int | tuple[int, int]] = []
    fsync = os.fsync

    def noted(opened: int) -> None:
        fsync(opened)
        found = os.fstat(opened)
        folder = stat.S_ISDIR(found.st_mode)
        happened.append(found.st_ino if folder else (found.st_ino, found.st_size))

    def look(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith("INSERT") and Upload._meta.db_table in sql:
            happened.append("row")
        return execute(sql, *rest)

    monkeypatch.setattr(os, "fsync", noted)
    with connection.execute_wrapper(look):
        answer = send(signed_in, content)

    file = media / "uploads" / f"{answer.json()['id']}.jpg"
    # All of it, then its name in its folder, then that folder's name, which is new too.
    folders = [path.stat().st_ino for path in (media / "uploads", media)]
    assert happened == [(file.stat().st_ino, len(content)), *folders, "row"]


def test_a_disk_that_fails_in_the_end_is_said_and_keeps_nothing(
    signed_in: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(opened: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)

    assert send(signed_in, picture()).status_code == 503
    assert files(media) == []
    assert not Upload.objects.exists()


def test_a_deleted_upload_takes_its_files_along(
    signed_in: Client,
    media: Path,
    worker: None,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        send(signed_in, picture())
    assert len(files(media)) == 2

    with django_capture_on_commit_callbacks(execute=True):
        User.objects.all().delete()

    assert files(media) == []
