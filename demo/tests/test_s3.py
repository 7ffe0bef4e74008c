"""Uploads in S3, with django-storages and boto3 against a local S3 server."""

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
from demo.tests.images import make_image
from ops.breaker import STORAGE
from ops.celery import app
from tests.ports import free_port
from tests.s3 import empty_bucket, storage

User = get_user_model()

pytestmark = pytest.mark.django_db


@pytest.fixture
def bucket(endpoint: str, settings: Settings) -> Any:
    """Return an empty bucket that stores the uploads."""
    settings.STORAGES = {**settings.STORAGES, "default": storage(endpoint)}
    return empty_bucket(endpoint)


def send(client: Client, content: bytes) -> Any:
    """Upload an image."""
    # The bucket must serve the detected type, not the name and type that the client sent.
    file = SimpleUploadedFile("a.html", content, content_type="text/html")
    return client.post("/api/uploads/", {"image": file})


def test_upload_stores_image_and_thumbnail_in_the_bucket(
    bucket: Any,
    signed_in: Client,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    def send_task(name: str, args: list[str], kwargs: object, headers: dict[str, str]) -> None:
        process_upload.apply(args, headers=headers)

    monkeypatch.setattr(app, "send_task", send_task)
    content = make_image()
    with django_capture_on_commit_callbacks(execute=True):
        upload_id = send(signed_in, content).json()["id"]

    upload = signed_in.get(f"/api/uploads/{upload_id}/").json()

    assert (upload["status"], upload["error"]) == ("done", None)
    assert upload["sha256"] == hashlib.sha256(content).hexdigest()
    names = sorted(item.key for item in bucket.objects.all())
    assert names == [f"thumbnails/{upload_id}.jpg", f"uploads/{upload_id}.jpg"]
    # Signed URLs, which anyone can read for an hour.
    image = requests.get(upload["image"], timeout=10)
    assert (image.content, image.headers["Content-Type"]) == (content, "image/jpeg")
    assert requests.get(upload["thumbnail"], timeout=10).headers["Content-Type"] == "image/jpeg"
    assert "Signature=" in upload["thumbnail"]

    with django_capture_on_commit_callbacks(execute=True):
        Upload.objects.get().delete()
    assert list(bucket.objects.all()) == []


def test_processing_an_upload_twice_leaves_one_thumbnail(bucket: Any, signed_in: Client) -> None:
    upload_id = send(signed_in, make_image()).json()["id"]
    for task_id in ("first", "second"):
        Upload.objects.update(status=Upload.Status.QUEUED)
        process_upload.apply(args=[upload_id], task_id=task_id)

    assert len(list(bucket.objects.filter(Prefix="thumbnails/"))) == 1
    assert Upload.objects.get().status == Upload.Status.DONE


@pytest.mark.parametrize("missing", ["bucket", "server"])
def test_missing_bucket_or_server_answers_503(
    endpoint: str, bucket: Any, settings: Settings, signed_in: Client, missing: str
) -> None:
    broken = {"bucket": {"AWS_STORAGE_BUCKET_NAME": "nowhere"}, "server": {}}[missing]
    address = endpoint if missing == "bucket" else f"http://127.0.0.1:{free_port()}"
    settings.STORAGES = {**settings.STORAGES, "default": storage(address, **broken)}

    answer = send(signed_in, make_image())

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert not Upload.objects.exists()


def test_hanging_bucket_answers_503_and_opens_the_breaker(
    bucket: Any, settings: Settings, signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shorter here; test_consistency_timeouts.py compares the real limit with the worker's.
    monkeypatch.setattr("ops.storage.bucket.READ_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        settings.STORAGES = {
            **settings.STORAGES,
            "default": storage(f"http://127.0.0.1:{hanging.getsockname()[1]}"),
        }
        answer = send(signed_in, make_image())
        hanging.setblocking(False)
        attempts = 0
        with suppress(BlockingIOError):
            while hanging.accept():
                attempts += 1

    assert answer.status_code == 503
    assert attempts == 2
    assert STORAGE.is_open


def test_open_breaker_answers_503_without_requests_to_the_bucket(
    bucket: Any, signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise every server process waits for the bucket, and no page is served."""
    monkeypatch.setattr("ops.breaker.PAUSE_SECONDS", 600)
    STORAGE.open()
    assert send(signed_in, make_image()).status_code == 503
    STORAGE.close()
    assert send(signed_in, make_image()).status_code == 201
