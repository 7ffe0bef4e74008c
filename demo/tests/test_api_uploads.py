"""/api/uploads/: upload, thumbnail, list."""

from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from PIL import Image
from pytest_django import DjangoCaptureOnCommitCallbacks

from demo.tests.images import make_image
from demo.tests.uploads import PATH, close_pools, files, send
from ops.celery import app
from ops.models import Task
from ops.tasks import rows

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media", "closed_pools")]
User = get_user_model()


def test_upload_is_stored_and_queued(signed_in: Client, media: Path) -> None:
    content = make_image(size=(640, 480))

    answer = send(signed_in, content)

    body = answer.json()
    assert answer.status_code == 201
    assert body == {
        "id": body["id"],
        "name": "holiday.jpg",
        "status": "queued",
        "image": f"/media/uploads/{body['id']}.jpg",
        "thumbnail": None,
        "sha256": None,
        "bytes": len(content),
        "width": 640,
        "height": 480,
        "created": body["created"],
        "finished": None,
        "error": None,
    }
    assert files(media) == [f"uploads/{body['id']}.jpg"]
    assert (media / "uploads" / f"{body['id']}.jpg").read_bytes() == content


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("image_format", "extension", "thumbnail"),
    [
        ("JPEG", "jpg", "JPEG"),
        ("PNG", "png", "PNG"),
        ("GIF", "gif", "PNG"),
        ("WEBP", "webp", "WEBP"),
    ],
)
def test_each_image_format_becomes_a_thumbnail(
    signed_in: Client,
    media: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    image_format: str,
    extension: str,
    thumbnail: str,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        # The content decides, not the file name.
        created = send(signed_in, make_image(image_format), "x.txt").json()

    upload = signed_in.get(f"{PATH}{created['id']}/").json()
    assert upload["image"].endswith(f".{extension}")
    assert (upload["status"], upload["error"]) == ("done", None)
    assert len(upload["sha256"]) == 64 and upload["finished"] >= upload["created"]
    thumbnail_image = Image.open(media / upload["thumbnail"].removeprefix("/media/"))
    assert (thumbnail_image.format, thumbnail_image.size) == (thumbnail, (320, 240))


@pytest.mark.parametrize("zeros", [1, 5000])
def test_page_size_ignores_leading_zeros(signed_in: Client, zeros: int) -> None:
    created = [send(signed_in, make_image()).json()["id"] for _ in range(3)]

    listing = signed_in.get(PATH, {"page_size": "0" * zeros + "2"}).json()

    assert [upload["id"] for upload in listing["results"]] == created[:0:-1]


def test_upload_without_a_broker_is_accepted_and_its_task_stays_unsent(
    signed_in: Client,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    monkeypatch.setattr(app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    with django_capture_on_commit_callbacks(execute=True):
        answer = send(signed_in, make_image())

    assert (answer.status_code, answer.json()["status"]) == (201, "queued")
    # Marked as unsent: a worker sends it once the broker is up.
    task = Task.objects.get()
    assert (rows.loads(task.args), task.sent) == ([answer.json()["id"]], None)
    assert rows.send_due() == 0


def test_closed_pools_let_later_tests_send_tasks() -> None:
    for _ in range(2):
        app.send_task("any")
        close_pools()
