"""The task that processes an upload. test_durable_tasks.py tests every DurableTask."""

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
from demo.tests.images import make_costly_jpeg, make_image
from demo.uploads import limits, names, work
from ops.models import Task

User = get_user_model()

pytestmark = pytest.mark.django_db

Status = Upload.Status
MakeUpload = Callable[..., Upload]


@pytest.fixture
def make_upload(settings: Settings, tmp_path: Path) -> MakeUpload:
    """Return a function that creates an upload in a given state."""
    settings.MEDIA_ROOT = tmp_path
    owner = User.objects.create_user("someone")

    def upload(content: bytes = b"", **fields: object) -> Upload:
        upload_id = uuid.uuid4()
        name = default_storage.save(
            names.image_file(upload_id, "JPEG"), ContentFile(content or make_image())
        )
        defaults = {"bytes": 1, "width": 1, "height": 1, "name": "x"}
        return Upload.objects.create(
            **{"id": upload_id, "owner": owner, "image": name, **defaults, **fields}
        )

    return upload


def run(upload: Upload) -> Upload:
    """Run the task once."""
    process_upload.apply(args=[str(upload.pk)])
    upload.refresh_from_db()
    return upload


def thumbnails() -> list[str]:
    """Return the stored thumbnails."""
    return default_storage.listdir("thumbnails")[1] if default_storage.exists("thumbnails") else []


def test_finished_upload_is_not_processed_again(make_upload: MakeUpload) -> None:
    upload = run(make_upload())
    finished = upload.finished

    run(upload)

    assert (upload.status, upload.finished) == (Status.DONE, finished)
    assert len(thumbnails()) == 1


def test_failed_upload_can_be_processed_again(make_upload: MakeUpload) -> None:
    upload = run(make_upload(status=Status.FAILED, error="The disk was full."))

    assert (upload.status, upload.error) == (Status.DONE, "")


def test_partial_thumbnail_of_a_killed_worker_is_overwritten(make_upload: MakeUpload) -> None:
    upload = make_upload()
    default_storage.save(names.thumbnail_file(upload.pk, "JPEG"), ContentFile(b"half of it"))

    assert run(upload).status == Status.DONE
    assert thumbnails() == [f"{upload.pk}.jpg"]
    assert default_storage.size(upload.thumbnail.name) > 100


def test_damaged_image_fails_at_its_first_attempt(make_upload: MakeUpload) -> None:
    upload = run(make_upload(make_image()[:3000]))

    assert (upload.status, upload.error) == (Status.FAILED, "The image is damaged or cut off.")
    assert upload.finished
    assert Task.objects.get().attempts == 1
    assert thumbnails() == []


def test_image_that_takes_too_long_fails_at_its_first_attempt(
    make_upload: MakeUpload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CPU_SECONDS", 1)

    upload = run(make_upload(make_costly_jpeg()))

    assert (upload.status, upload.error) == (Status.FAILED, limits.TOO_MUCH)
    assert Task.objects.get().attempts == 1
    assert thumbnails() == []


def test_upload_stays_queued_between_attempts(
    make_upload: MakeUpload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(upload: Upload) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("demo.tasks.work_on", fail)

    upload = run(make_upload())

    assert (upload.status, upload.error) == (Status.QUEUED, "")
    assert Task.objects.get().status == Task.Status.WAITING


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("/srv/media is full"), "It could not be processed."),
        (WorkerLostError("Its worker was lost 2 times."), "Its worker was lost 2 times."),
    ],
)
def test_error_shown_to_the_owner_hides_server_details(
    make_upload: MakeUpload, error: Exception, reason: str
) -> None:
    upload = make_upload()

    process_upload.on_failed(error, str(upload.pk))

    upload.refresh_from_db()
    assert (upload.status, upload.error) == (Status.FAILED, reason)
    assert upload.finished


def test_upload_deleted_while_processing_leaves_no_thumbnail(
    make_upload: MakeUpload, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = make_upload()

    def work_and_delete(upload: Upload) -> dict[str, str]:
        result = work.work_on(upload)
        Upload.objects.filter(pk=upload.pk).delete()
        return result

    monkeypatch.setattr("demo.tasks.work_on", work_and_delete)
    process_upload.apply(args=[str(upload.pk)])

    assert thumbnails() == []


def test_task_of_a_deleted_upload_succeeds() -> None:
    assert process_upload.apply(args=[str(uuid.uuid4())]).successful()
