"""The worker's metrics of queued uploads."""

import datetime

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from demo.metrics import Uploads
from demo.models import Upload


@pytest.fixture(autouse=True)
def open_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the connection open, since the test's transaction still needs it."""
    monkeypatch.setattr("demo.metrics.connection.close", lambda: None)


@pytest.mark.django_db
def test_metrics_count_queued_uploads_and_the_age_of_the_oldest() -> None:
    owner = get_user_model().objects.create_user("someone")
    now = timezone.now()
    for minutes, status in enumerate(("queued", "queued", "queued", "done", "failed")):
        upload = Upload.objects.create(owner=owner, status=status, bytes=1, width=1, height=1)
        created = now - datetime.timedelta(minutes=minutes)
        Upload.objects.filter(pk=upload.pk).update(created=created)

    number, age = (metric.samples[0].value for metric in Uploads().collect())

    assert number == 3
    assert 120 <= age < 180


def test_metrics_have_no_upload_counts_without_the_database() -> None:
    """This test has no django_db mark, so the query fails."""
    assert list(Uploads().collect()) == []
