"""Files in S3: django-storages and boto3 against a server with the S3 API."""

import socket
from contextlib import suppress
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from pytest_django import Settings

from ops.breaker import STORAGE
from ops.storage.local import is_outage
from tests.s3 import empty_bucket, storage


def save() -> str:
    """Save a file as any app does."""
    return default_storage.save("a.txt", ContentFile(b"content"))


@pytest.fixture
def bucket(endpoint: str, settings: Settings) -> Any:
    """Return an empty bucket, and store files in it."""
    settings.STORAGES = {**settings.STORAGES, "default": storage(endpoint)}
    return empty_bucket(endpoint)


def test_file_is_saved_in_the_bucket_with_a_signed_url(bucket: Any) -> None:
    name = save()

    assert [item.get()["Body"].read() for item in bucket.objects.all()] == [b"content"]
    assert "Signature=" in default_storage.url(name)


def test_bucket_that_hangs_times_out_and_opens_the_breaker(
    bucket: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shorter; test_consistency_timeouts.py compares the real one with REQUEST_SECONDS.
    monkeypatch.setattr("ops.storage.bucket.READ_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        settings.STORAGES = {**settings.STORAGES, "default": storage(address)}
        with pytest.raises(Exception, match="timeout") as hung:
            save()
        mute.setblocking(False)
        attempts = 0
        with suppress(BlockingIOError):
            while mute.accept():
                attempts += 1

    assert is_outage(hung.value)
    assert attempts == 2
    assert STORAGE.is_open


def test_open_breaker_refuses_requests_to_the_bucket(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise every worker waits for it, and no page is served."""
    monkeypatch.setattr("ops.breaker.PAUSE_SECONDS", 600)
    STORAGE.open()
    with pytest.raises(Exception, match="a moment ago") as refused:
        save()
    assert is_outage(refused.value)
    assert not list(bucket.objects.all())


def test_missing_bucket_is_an_outage_and_another_error_is_none(bucket: Any) -> None:
    bucket.delete()
    with pytest.raises(Exception, match="NoSuchBucket") as gone:
        save()
    assert is_outage(gone.value)
    assert not is_outage(KeyError())


def test_files_are_on_disk_without_a_bucket() -> None:
    assert storage("", AWS_STORAGE_BUCKET_NAME="") == {
        "BACKEND": "ops.storage.local.DurableFileStorage"
    }
