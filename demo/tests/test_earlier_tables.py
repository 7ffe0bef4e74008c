"""Migrations copy the rows of the earlier tables of the app `api`."""

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
    """Copy the earlier rows, as the first migrations of both apps do."""
    for app in ("demo", "ops"):
        migration = import_module(f"{app}.migrations.0001_initial")
        with connection.schema_editor() as editor:
            migration.adopt_earlier_rows(apps, editor)


@pytest.fixture
def earlier_tables() -> Iterator[None]:
    """Move the rows of all tables into the earlier tables."""
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
    """Create an upload, a count, a parked task and a worker last seen a day ago."""
    Counter.objects.create(name="visits", value=7)
    ParkedTask.objects.create(task="later", message="{}", parked=timezone.now())
    long_ago = timezone.now() - datetime.timedelta(days=1)
    WorkerBeat.objects.create(name="w", seen=long_ago)
    owner = get_user_model().objects.create_user("someone")
    return Upload.objects.create(owner=owner, name="a", image="a.jpg", bytes=1, width=2, height=3)


def test_migration_copies_uploads_counters_and_parked_tasks_from_earlier_tables(
    upload: Upload, earlier_tables: None
) -> None:
    adopt()

    kept = Upload.objects.get()
    assert vars(kept) | {"_state": None} == vars(upload) | {"_state": None}
    assert Counter.read("visits") == 7
    assert ParkedTask.objects.get().task == "later"


@pytest.mark.parametrize(
    ("status", "tasks"), [("queued", 1), ("running", 1), ("done", 0), ("failed", 0)]
)
def test_migration_creates_tasks_for_unfinished_uploads(
    status: str, tasks: int, request: Any
) -> None:
    upload = request.getfixturevalue("upload")
    Upload.objects.update(status=status)
    request.getfixturevalue("earlier_tables")

    adopt()

    assert Upload.objects.get().status == ("queued" if tasks else status)
    expected = [(process_upload.name, f'["{upload.pk}"]')] * tasks
    assert list(Task.objects.values_list("name", "args")) == expected


def test_migration_counts_the_worker_of_the_previous_release_as_alive(
    upload: Upload, earlier_tables: None
) -> None:
    """A release checks its new servers while the previous worker still writes to its own table."""
    assert beats.problem()
    adopt()
    assert not beats.problem()


def test_migration_of_a_new_database_copies_no_rows() -> None:
    adopt()

    assert not any(model.objects.exists() for model in MODELS.values())
