"""/api/uploads/: an image is queued, becomes a thumbnail, and is listed."""

from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from PIL import Image
from pytest_django import DjangoCaptureOnCommitCallbacks

from demo.tests.pictures import picture
from demo.tests.uploads import PATH, close_pools, files, send
from ops.celery import app
from ops.models import Task
from ops.tasks import rows

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media", "closed_pools")]
User = get_user_model()


def test_a_picture_is_queued(signed_in: Client, media: Path) -> None:
    content = picture(size=(640, 480))

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
    ("picture_format", "extension", "thumbnail"),
    [
        ("JPEG", "jpg", "JPEG"),
        ("PNG", "png", "PNG"),
        ("GIF", "gif", "PNG"),
        ("WEBP", "webp", "WEBP"),
    ],
)
def test_a_picture_becomes_a_thumbnail(
    signed_in: Client,
    media: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    picture_format: str,
    extension: str,
    thumbnail: str,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        # Whatever it is called: the content tells.
        made = send(signed_in, picture(picture_format), "x.txt").json()

    found = signed_in.get(f"{PATH}{made['id']}/").json()
    assert found["image"].endswith(f".{extension}")
    assert (found["status"], found["error"]) == ("done", None)
    assert len(found["sha256"]) == 64 and found["finished"] >= found["created"]
    small = Image.open(media / found["thumbnail"].removeprefix("/media/"))
    assert (small.format, small.size) == (thumbnail, (320, 240))


@pytest.mark.parametrize("zeros", [1, 5000])
def test_a_number_s_first_zeros_count_for_nothing(signed_in: Client, zeros: int) -> None:
    made = [send(signed_in, picture()).json()["id"] for _ in range(3)]

    listing = signed_in.get(PATH, {"page_size": "0" * zeros + "2"}).json()

    assert [upload["id"] for upload in listing["results"]] == made[:0:-1]


def test_without_a_broker_it_is_still_taken_and_found_later(
    signed_in: Client,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    monkeypatch.setattr(app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
    with django_capture_on_commit_callbacks(execute=True):
        answer = send(signed_in, picture())

    assert (answer.status_code, answer.json()["status"]) == (201, "queued")
    # Marked as unsent: a worker sends it as soon as there is a broker.
    task = Task.objects.get()
    assert (rows.loads(task.args), task.sent) == ([answer.json()["id"]], None)
    assert rows.send_due() == 0


def test_tasks_can_be_sent_after_these_tests() -> None:
    for _ in range(2):
        app.send_task("any")
        close_pools()
