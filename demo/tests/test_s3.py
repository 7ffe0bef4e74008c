"""Uploads in S3: through django-storages and boto3 to a server that speaks S3's protocol."""

import hashlib
import socket
from contextlib import suppress
from typing import Any

import pytest
import requests
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from demo.models import Upload
from demo.tasks import process_upload
from demo.tests.pictures import picture
from ops.breaker import STORAGE
from ops.celery import app
from tests.ports import free_port
from tests.s3 import empty_bucket, storage

User = get_user_model()

pytestmark = pytest.mark.django_db


@pytest.fixture
def bucket(endpoint: str, settings: Settings) -> Any:
    """Return an empty bucket, in which uploads are kept."""
    settings.STORAGES = {**settings.STORAGES, "default": storage(endpoint)}
    return empty_bucket(endpoint)


def send(client: Client, content: bytes) -> Any:
    """Post a picture."""
    # What the sender calls it must not become what the bucket serves it as.
    file = SimpleUploadedFile("a.html", content, content_type="text/html")
    return client.post("/api/uploads/", {"image": file})


def test_a_picture_and_its_thumbnail_are_in_the_bucket(
    bucket: Any,
    signed_in: Client,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    def send_task(name: str, args: list[str], kwargs: object, headers: dict[str, str]) -> None:
        process_upload.apply(args, headers=headers)

    monkeypatch.setattr(app, "send_task", send_task)
    content = picture()
    with django_capture_on_commit_callbacks(execute=True):
        made = send(signed_in, content).json()["id"]

    found = signed_in.get(f"/api/uploads/{made}/").json()

    assert (found["status"], found["error"]) == ("done", None)
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    names = sorted(item.key for item in bucket.objects.all())
    assert names == [f"thumbnails/{made}.jpg", f"uploads/{made}.jpg"]
    # The addresses are signed ones, which everyone can read for an hour.
    image = requests.get(found["image"], timeout=10)
    assert (image.content, image.headers["Content-Type"]) == (content, "image/jpeg")
    assert requests.get(found["thumbnail"], timeout=10).headers["Content-Type"] == "image/jpeg"
    assert "Signature=" in found["thumbnail"]

    with django_capture_on_commit_callbacks(execute=True):
        Upload.objects.get().delete()
    assert list(bucket.objects.all()) == []


def test_done_twice_there_is_one_thumbnail(bucket: Any, signed_in: Client) -> None:
    made = send(signed_in, picture()).json()["id"]
    for job in ("first", "second"):
        Upload.objects.update(status=Upload.Status.QUEUED)
        process_upload.apply(args=[made], task_id=job)

    assert len(list(bucket.objects.filter(Prefix="thumbnails/"))) == 1
    assert Upload.objects.get().status == Upload.Status.DONE


@pytest.mark.parametrize("missing", ["bucket", "server"])
def test_a_bucket_that_is_away_is_said(
    endpoint: str, bucket: Any, settings: Settings, signed_in: Client, missing: str
) -> None:
    broken = {"bucket": {"AWS_STORAGE_BUCKET_NAME": "nowhere"}, "server": {}}[missing]
    address = endpoint if missing == "bucket" else f"http://127.0.0.1:{free_port()}"
    settings.STORAGES = {**settings.STORAGES, "default": storage(address, **broken)}

    answer = send(signed_in, picture())

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert not Upload.objects.exists()


def test_a_bucket_that_hangs_is_said_before_the_worker_s_time_is_over(
    bucket: Any, settings: Settings, signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shorter here; test_consistency_timeouts.py compares the real one with the worker's time.
    monkeypatch.setattr("ops.storage.bucket.READ_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings.STORAGES = {
            **settings.STORAGES,
            "default": storage(f"http://127.0.0.1:{mute.getsockname()[1]}"),
        }
        answer = send(signed_in, picture())
        mute.setblocking(False)
        attempts = 0
        with suppress(BlockingIOError):
            while mute.accept():
                attempts += 1

    assert answer.status_code == 503
    assert attempts == 2
    assert STORAGE.is_open


def test_a_bucket_that_is_known_to_hang_is_not_asked(
    bucket: Any, signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every worker waits for it in turn, and no page is served."""
    monkeypatch.setattr("ops.breaker.PAUSE_SECONDS", 600)
    STORAGE.open()
    assert send(signed_in, picture()).status_code == 503
    STORAGE.close()
    assert send(signed_in, picture()).status_code == 201
