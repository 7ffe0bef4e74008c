"""Fixtures of the upload tests."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.test import Client
from pytest_django import Settings

from demo.tasks import process_upload
from demo.tests.uploads import close_pools
from ops.celery import app

User = get_user_model()
# The container of the local layer has neither moto nor schemathesis.
collect_ignore = [] if find_spec("schemathesis") else ["test_schema.py", "test_s3.py"]


@pytest.fixture
def media(settings: Settings, tmp_path: Path) -> Path:
    """Return the media folder of this test."""
    settings.MEDIA_ROOT = tmp_path / "media"
    (tmp_path / "media").mkdir()
    return tmp_path / "media"


@pytest.fixture
def closed_pools() -> Iterator[None]:
    """Close the test's connections to its broker."""
    yield
    close_pools()


@pytest.fixture
def user() -> AbstractUser:
    """Return a user."""
    return User.objects.create_user("someone", password="a-good-pass-phrase")


@pytest.fixture
def signed_in(client: Client, user: AbstractUser) -> Client:
    """Return a client with a session."""
    client.force_login(user)
    return client


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Process each task as soon as it is sent."""

    def run_task(name: str, args: list[str], kwargs: object, headers: dict[str, str]) -> None:
        assert (name, kwargs) == (process_upload.name, {})
        process_upload.apply(args=args, headers=headers)

    monkeypatch.setattr(app, "send_task", run_task)
