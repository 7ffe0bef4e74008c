"""Files in S3: through django-storages and boto3 to a server that speaks S3's protocol."""

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
    """Return an empty bucket, in which files are kept."""
    settings.STORAGES = {**settings.STORAGES, "default": storage(endpoint)}
    return empty_bucket(endpoint)


def test_a_file_is_in_the_bucket_at_a_signed_address(bucket: Any) -> None:
    name = save()

    assert [item.get()["Body"].read() for item in bucket.objects.all()] == [b"content"]
    assert "Signature=" in default_storage.url(name)


def test_a_bucket_that_hangs_is_given_up_and_opens_the_breaker(
    bucket: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shorter here; test_consistency_timeouts.py compares the real one with the worker's time.
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


def test_a_bucket_that_is_known_to_hang_is_not_asked(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every worker waits for it, and no page is served."""
    monkeypatch.setattr("ops.breaker.PAUSE_SECONDS", 600)
    STORAGE.open()
    with pytest.raises(Exception, match="just now") as refused:
        save()
    assert is_outage(refused.value)
    assert not list(bucket.objects.all())


def test_a_bucket_that_is_gone_is_an_outage_and_a_bug_is_none(bucket: Any) -> None:
    bucket.delete()
    with pytest.raises(Exception, match="NoSuchBucket") as gone:
        save()
    assert is_outage(gone.value)
    assert not is_outage(KeyError())


def test_without_a_bucket_files_are_on_the_disk() -> None:
    assert storage("", AWS_STORAGE_BUCKET_NAME="") == {
        "BACKEND": "ops.storage.local.DurableFileStorage"
    }
