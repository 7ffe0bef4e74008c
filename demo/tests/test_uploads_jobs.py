"""The way of an upload: done once whatever is sent twice, lost or killed."""

import datetime
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from amqp.exceptions import AccessRefused, PreconditionFailed
from celery import Celery
from celery.exceptions import Retry
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from pytest_django import Settings

from demo.models import Upload
from demo.tasks import process_upload
from demo.tests.pictures import costly, picture
from demo.uploads import jobs, limits, names, work
from demo.uploads.jobs import Status
from ops.breaker import BROKER
from ops.settings.backing import VISIBILITY_SECONDS

User = get_user_model()

pytestmark = pytest.mark.django_db

Make = Callable[..., Upload]
# Seconds after which a job that runs was killed.
LEASE = 30


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
        defaults = {"sent": timezone.now(), "bytes": 1, "width": 1, "height": 1, "name": "x"}
        return Upload.objects.create(
            **{"id": key, "owner": owner, "image": name, **defaults, **fields}
        )

    return upload


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the uploads whose messages were sent."""
    messages: list[str] = []
    monkeypatch.setattr(jobs.app, "send_task", lambda name, args, **_: messages.extend(args))
    monkeypatch.setattr(jobs.app, "queue_length", lambda: 0)
    return messages


def ago(seconds: float | None) -> datetime.datetime | None:
    """Return a time in the past, or none."""
    return None if seconds is None else timezone.now() - datetime.timedelta(seconds=seconds)


def run(upload: Upload, job: str = "job") -> Upload:
    """Do the job of one message."""
    process_upload.apply(args=[str(upload.pk)], task_id=job)
    upload.refresh_from_db()
    return upload


def thumbnails() -> list[str]:
    """Return the thumbnails that were kept."""
    return default_storage.listdir("thumbnails")[1] if default_storage.exists("thumbnails") else []


def test_a_message_that_comes_twice_is_done_once(make: Make) -> None:
    upload = run(make(), "first")
    finished = upload.finished

    run(upload, "second")

    assert (upload.status, upload.attempts, upload.finished) == (Status.DONE, 1, finished)
    assert len(thumbnails()) == 1


def test_a_job_that_runs_is_left_alone(make: Make) -> None:
    upload = run(make(status=Status.RUNNING, job="other", started=ago(1)))

    assert (upload.status, upload.job, upload.attempts) == (Status.RUNNING, "other", 0)


def test_the_same_message_again_means_that_its_worker_was_killed(make: Make) -> None:
    upload = make(status=Status.RUNNING, job="job", started=ago(1), attempts=1)

    assert run(upload, "job").status == Status.DONE
    assert upload.attempts == 2


def test_a_message_that_comes_back_at_once_each_time_ends_too(make: Make) -> None:
    """As RabbitMQ gives it back: to a worker that was killed, or to one that still works."""
    upload = make(status=Status.RUNNING, job="job", started=timezone.now(), losses=1)

    upload = run(upload, "job")

    assert (upload.status, upload.losses) == (Status.RUNNING, 1)
    Upload.objects.update(started=ago(LEASE + 1))
    jobs.sweep()
    upload.refresh_from_db()
    assert upload.status == Status.FAILED
    assert upload.error == "Its worker was lost 2 times."
    assert not thumbnails()


def test_a_killed_job_s_thumbnail_is_written_over(make: Make) -> None:
    upload = make()
    default_storage.save(names.thumbnail_file(upload.pk, "JPEG"), ContentFile(b"half of it"))

    assert run(upload).status == Status.DONE
    assert thumbnails() == [f"{upload.pk}.jpg"]
    assert default_storage.size(upload.thumbnail.name) > 100


def test_a_job_that_took_too_long_ends_nobody_else_s(make: Make) -> None:
    upload = make(status=Status.RUNNING, job="mine", started=ago(1))
    Upload.objects.update(job="another's")

    assert jobs.finish(upload, jobs.Result("t", "s")) is False
    upload.refresh_from_db()
    assert upload.status == Status.RUNNING


def test_a_damaged_picture_fails_at_once(make: Make) -> None:
    upload = run(make(picture()[:3000]))

    assert (upload.status, upload.attempts) == (Status.FAILED, 1)
    assert upload.error == "The picture is damaged or cut off."
    assert thumbnails() == []


def test_a_fault_is_tried_again_after_growing_pauses_and_then_fails(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(upload: Upload) -> None:
        raise OSError("the disk is away")

    monkeypatch.setattr("demo.tasks.work_on", fail)
    pauses = []

    def retry(*, countdown: int, **options: object) -> Exception:
        pauses.append(countdown)
        return Retry()

    monkeypatch.setattr(process_upload, "retry", retry)
    upload = make()
    for attempt in range(1, jobs.MAX_ATTEMPTS + 1):
        run(upload, f"job {attempt}")
        last = attempt == jobs.MAX_ATTEMPTS
        assert upload.status == (Status.FAILED if last else Status.QUEUED)

    assert pauses == [1, 2, 4, 8, 16]
    assert upload.error == "It could not be worked on, in 6 attempts."
    # While it pauses, the sweep leaves it alone.
    assert jobs.sweep() == 0


def test_a_pause_is_no_loss(make: Make, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    upload = make(status=Status.RUNNING, job="job", started=timezone.now(), attempts=5)

    assert jobs.give_back(upload) == 16
    upload.refresh_from_db()
    assert upload.sent and upload.sent > timezone.now()
    assert jobs.sweep() == 0


def test_failed_uploads_can_be_tried_again(make: Make, sent: list[str]) -> None:
    failed, done = make(status=Status.FAILED, attempts=6, error="x"), make(status=Status.DONE)

    assert jobs.again([failed.pk, done.pk]) == 1

    assert sent == [str(failed.pk)]
    assert run(failed).status == Status.DONE
    assert (failed.attempts, failed.error) == (1, "")


@pytest.mark.parametrize(
    ("status", "sent_ago", "started_ago", "waiting", "found"),
    [
        (Status.QUEUED, None, None, 9, True),
        (Status.QUEUED, jobs.LOST_SECONDS + 1, None, 0, True),
        (Status.QUEUED, jobs.LOST_SECONDS + 1, None, 1, False),
        (Status.QUEUED, jobs.LOST_IN_A_QUEUE_SECONDS + 1, None, 1, True),
        (Status.QUEUED, 0, None, 0, False),
        (Status.RUNNING, LEASE + 1, LEASE + 1, 9, True),
        (Status.RUNNING, 999, LEASE - 9, 0, False),
        (Status.DONE, 999, 999, 0, False),
        (Status.FAILED, 999, 999, 0, False),
    ],
)
def test_the_sweep_sends_what_has_lost_its_message_and_nothing_else(
    make: Make,
    sent: list[str],
    monkeypatch: pytest.MonkeyPatch,
    status: Status,
    sent_ago: float | None,
    started_ago: float | None,
    waiting: int,
    found: bool,
) -> None:
    upload = make(status=status, sent=ago(sent_ago), started=ago(started_ago))
    monkeypatch.setattr(jobs.app, "queue_length", lambda: waiting)

    assert jobs.sweep() == found
    assert sent == [str(upload.pk)] * found
    # A second worker's sweep finds nothing.
    assert jobs.sweep() == 0


def test_the_lease_is_longer_than_a_job_may_take(settings: Settings) -> None:
    limits = settings.CELERY["task_soft_time_limit"], settings.CELERY["task_time_limit"]

    assert limits[0] < limits[1] < settings.JOB_LEASE_SECONDS == LEASE < VISIBILITY_SECONDS
    assert jobs.FIRST_PAUSE_SECONDS * 2 ** (jobs.MAX_ATTEMPTS - 2) < VISIBILITY_SECONDS


def test_two_sweeps_at_once_send_it_once(make: Make, sent: list[str]) -> None:
    upload = make(sent=None)
    ((pk, seen),) = jobs.lost(0)

    assert jobs.sweep() == 1

    assert not Upload.objects.filter(jobs.still(pk, seen)).exists()
    assert sent == [str(upload.pk)]


def test_upload_is_tried_again_after_one_lost_worker_and_fails_after_two(make: Make) -> None:
    upload = make(status=Status.RUNNING, started=ago(LEASE + 1), attempts=1)

    assert jobs.sweep() == 1
    upload.refresh_from_db()
    assert (upload.status, upload.losses) == (Status.QUEUED, 1)
    assert jobs.claim(upload.pk, "again")
    Upload.objects.update(started=ago(LEASE + 1))
    assert jobs.sweep() == 0

    upload.refresh_from_db()
    assert (upload.status, upload.losses, upload.attempts) == (Status.FAILED, 2, 2)
    assert upload.finished and upload.error == "Its worker was lost 2 times."


def test_image_that_takes_too_long_fails_at_its_first_attempt(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CPU_SECONDS", 1)

    upload = run(make(costly()))

    assert (upload.status, upload.attempts, upload.error) == (Status.FAILED, 1, limits.TOO_MUCH)
    assert thumbnails() == []


def test_a_broker_that_goes_away_during_a_sweep_loses_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = [make(sent=None) for _ in range(3)]

    def refuse(name: str, args: list[str], **options: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(jobs.app, "send_task", refuse)

    assert jobs.sweep() == 0
    assert Upload.objects.filter(sent=None).count() == len(uploads)


def test_an_upload_that_is_deleted_meanwhile_leaves_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = make()

    def work_and_delete(claimed: Upload) -> jobs.Result:
        result = work.work_on(claimed)
        Upload.objects.filter(pk=claimed.pk).delete()
        return result

    monkeypatch.setattr("demo.tasks.work_on", work_and_delete)
    process_upload.apply(args=[str(upload.pk)])

    assert thumbnails() == []


def test_a_message_for_an_upload_that_is_gone_is_no_fault() -> None:
    assert process_upload.apply(args=[str(uuid.uuid4())]).successful()


@pytest.mark.parametrize(
    "error",
    [AccessRefused("refused"), PreconditionFailed("another kind of queue"), KeyError("no topic")],
    ids=lambda error: type(error).__name__,
)
def test_a_broker_that_refuses_costs_an_upload_its_time_alone(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    upload = make()

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.delattr(jobs.app, "send_task")
    monkeypatch.setattr(Celery, "send_task", refuse)

    assert not jobs.send(upload.pk)
    assert Upload.objects.get().sent is None
    assert BROKER.is_open
