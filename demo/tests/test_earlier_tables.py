"""An update takes over what an earlier version kept in tables of the app `api`."""

import datetime
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from demo.models import Counter, Upload
from demo.tasks import process_upload
from ops.models import ParkedTask, Task, WorkerBeat
from ops.worker import beats

pytestmark = pytest.mark.django_db(transaction=True)

MODELS: dict[str, Any] = {
    "counter": Counter,
    "upload": Upload,
    "parkedtask": ParkedTask,
    "workerbeat": WorkerBeat,
}


def adopt() -> None:
    """Do what the first migrations of both apps do once their tables are there."""
    for app in ("demo", "ops"):
        migration = import_module(f"{app}.migrations.0001_initial")
        with connection.schema_editor() as editor:
            migration.adopt_earlier_rows(apps, editor)


@pytest.fixture
def earlier() -> Iterator[None]:
    """The rows of all tables, in an earlier version's tables alone."""
    with connection.cursor() as cursor:
        for name, model in MODELS.items():
            cursor.execute(f"CREATE TABLE api_{name} AS SELECT * FROM {model._meta.db_table}")
            model.objects.all().delete()
    yield
    with connection.cursor() as cursor:
        for name in MODELS:
            cursor.execute(f"DROP TABLE api_{name}")


@pytest.fixture
def upload() -> Upload:
    """An upload, a count, a parked task, and a worker that was seen long ago."""
    Counter.objects.create(name="visits", value=7)
    ParkedTask.objects.create(task="later", message="{}", parked=timezone.now())
    long_ago = timezone.now() - datetime.timedelta(days=1)
    WorkerBeat.objects.create(name="w", seen=long_ago)
    owner = get_user_model().objects.create_user("someone")
    return Upload.objects.create(owner=owner, name="a", image="a.jpg", bytes=1, width=2, height=3)


def test_uploads_counters_and_parked_tasks_are_kept(upload: Upload, earlier: None) -> None:
    adopt()

    kept = Upload.objects.get()
    assert vars(kept) | {"_state": None} == vars(upload) | {"_state": None}
    assert Counter.read("visits") == 7
    assert ParkedTask.objects.get().task == "later"


@pytest.mark.parametrize(
    ("status", "tasks"), [("queued", 1), ("running", 1), ("done", 0), ("failed", 0)]
)
def test_upload_that_was_not_done_gets_a_task(status: str, tasks: int, request: Any) -> None:
    upload = request.getfixturevalue("upload")
    Upload.objects.update(status=status)
    request.getfixturevalue("earlier")

    adopt()

    assert Upload.objects.get().status == ("queued" if tasks else status)
    expected = [(process_upload.name, f'["{upload.pk}"]')] * tasks
    assert list(Task.objects.values_list("name", "args")) == expected


def test_worker_of_the_release_before_counts_until_it_is_replaced(
    upload: Upload, earlier: None
) -> None:
    """It writes to its own table, and a release checks its new servers before."""
    assert beats.fresh() == 0
    adopt()
    assert beats.fresh() == 1


def test_new_database_has_nothing_to_adopt() -> None:
    adopt()

    assert not any(model.objects.exists() for model in MODELS.values())
