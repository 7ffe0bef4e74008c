"""The demo's cards on the status page."""

import datetime
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.test import Client
from pytest_django import Settings

from demo.models import Counter
from ops import registry

# The health checks run in threads, which do not see an open transaction.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def site(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Show the status page to all visitors; give health checks 10 s on a busy machine."""
    settings.DEBUG, settings.MEDIA_ROOT = True, tmp_path
    for check in registry.health_checks.values():
        monkeypatch.setattr(check, "timeout", datetime.timedelta(seconds=10))


def test_status_page_and_report_show_visits(client: Client) -> None:
    Counter.increment("visits")

    assert client.get("/status/report/").json()["visits"] == 1
    assert '<a href="/api/hits/">' in client.get("/status/").content.decode()


def test_status_page_works_without_the_visit_counter(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> int:
        raise OperationalError(2003, "down")

    monkeypatch.setattr(Counter, "read", fail)

    report, page = (client.get(path) for path in ("/status/report/", "/status/"))

    assert (report.status_code, report.json()["visits"]) == (200, None)
    assert page.status_code == 200
    assert "not known" in page.content.decode()


@pytest.mark.parametrize("debug", [True, False])
def test_upload_form_is_shown_only_to_signed_in_users(
    client: Client, settings: Settings, debug: bool
) -> None:
    settings.DEBUG = debug
    assert 'id="upload-form"' not in client.get("/status/").content.decode()

    client.force_login(get_user_model().objects.create_user("someone"))
    assert 'id="upload-form"' in client.get("/status/").content.decode()
