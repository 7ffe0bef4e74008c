"""How many uploads wait, as metrics of a worker."""

import datetime

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from demo.metrics import Uploads
from demo.models import Upload


@pytest.fixture(autouse=True)
def open_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the connection open: the test's transaction goes on afterwards."""
    monkeypatch.setattr("demo.metrics.connection.close", lambda: None)


@pytest.mark.django_db
def test_uploads_that_wait_are_counted() -> None:
    owner = get_user_model().objects.create_user("someone")
    now = timezone.now()
    for minutes, status in enumerate(("queued", "queued", "queued", "done", "failed")):
        upload = Upload.objects.create(owner=owner, status=status, bytes=1, width=1, height=1)
        created = now - datetime.timedelta(minutes=minutes)
        Upload.objects.filter(pk=upload.pk).update(created=created)

    number, age = (metric.samples[0].value for metric in Uploads().collect())

    assert number == 3
    assert 120 <= age < 180


def test_without_the_database_there_is_no_figure() -> None:
    """Without a database mark the table cannot be queried."""
    assert list(Uploads().collect()) == []
