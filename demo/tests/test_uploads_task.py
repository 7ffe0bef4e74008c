"""What the worker does with an upload; test_durable_tasks.py has what every DurableTask does."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from celery.exceptions import WorkerLostError
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from pytest_django import Settings

from demo.models import Upload
from demo.tasks import process_upload
from demo.tests.pictures import costly, picture
from demo.uploads import limits, names, work
from ops.models import Task

User = get_user_model()

pytestmark = pytest.mark.django_db

Status = Upload.Status
Make = Callable[..., Upload]


@pytest.fixture
def make(settings: Settings, tmp_path: Path) -> Make:
    """Return what makes an upload in a given state."""
    settings.MEDIA_ROOT = tmp_path
    owner = User.objects.create_user("someone")

    def upload(content: bytes = b"", **fields: object) -> Upload:
        key = uuid.uuid4()
        name = default_storage.save(
            names.image_file(key, "JPEG"), ContentFile(content or picture())
        )
        defaults = {"bytes": 1, "width": 1, "height": 1, "name": "x"}
        return Upload.objects.create(
            **{"id": key, "owner": owner, "image": name, **defaults, **fields}
        )

    return upload


def run(upload: Upload) -> Upload:
    """Process one message."""
    process_upload.apply(args=[str(upload.pk)])
    upload.refresh_from_db()
    return upload


def thumbnails() -> list[str]:
    """Return the thumbnails that were kept."""
    return default_storage.listdir("thumbnails")[1] if default_storage.exists("thumbnails") else []


def test_upload_that_is_done_is_left_alone(make: Make) -> None:
    upload = run(make())
    finished = upload.finished

    run(upload)

    assert (upload.status, upload.finished) == (Status.DONE, finished)
    assert len(thumbnails()) == 1


def test_upload_that_failed_may_be_tried_again(make: Make) -> None:
    upload = run(make(status=Status.FAILED, error="The disk was full."))

    assert (upload.status, upload.error) == (Status.DONE, "")


def test_thumbnail_of_a_killed_worker_is_overwritten(make: Make) -> None:
    upload = make()
    default_storage.save(names.thumbnail_file(upload.pk, "JPEG"), ContentFile(b"half of it"))

    assert run(upload).status == Status.DONE
    assert thumbnails() == [f"{upload.pk}.jpg"]
    assert default_storage.size(upload.thumbnail.name) > 100


def test_damaged_image_fails_at_its_first_attempt(make: Make) -> None:
    upload = run(make(picture()[:3000]))

    assert (upload.status, upload.error) == (Status.FAILED, "The image is damaged or cut off.")
    assert upload.finished
    assert Task.objects.get().attempts == 1
    assert thumbnails() == []


def test_image_that_takes_too_long_fails_at_its_first_attempt(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CPU_SECONDS", 1)

    upload = run(make(costly()))

    assert (upload.status, upload.error) == (Status.FAILED, limits.TOO_MUCH)
    assert Task.objects.get().attempts == 1
    assert thumbnails() == []


def test_upload_stays_queued_between_attempts(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(upload: Upload) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("demo.tasks.work_on", fail)

    upload = run(make())

    assert (upload.status, upload.error) == (Status.QUEUED, "")
    assert Task.objects.get().status == Task.Status.WAITING


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("/srv/media is full"), "It could not be processed."),
        (WorkerLostError("Its worker was lost 2 times."), "Its worker was lost 2 times."),
    ],
)
def test_owner_reads_why_it_failed_and_nothing_of_the_server(
    make: Make, error: Exception, reason: str
) -> None:
    upload = make()

    process_upload.on_failed(error, str(upload.pk))

    upload.refresh_from_db()
    assert (upload.status, upload.error) == (Status.FAILED, reason)
    assert upload.finished


def test_upload_that_is_deleted_meanwhile_leaves_no_file(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = make()

    def work_and_delete(found: Upload) -> dict[str, str]:
        result = work.work_on(found)
        Upload.objects.filter(pk=found.pk).delete()
        return result

    monkeypatch.setattr("demo.tasks.work_on", work_and_delete)
    process_upload.apply(args=[str(upload.pk)])

    assert thumbnails() == []


def test_message_for_an_upload_that_is_gone_is_no_fault() -> None:
    assert process_upload.apply(args=[str(uuid.uuid4())]).successful()
