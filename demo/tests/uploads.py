"""Helpers of the upload tests: requests and stored files."""

from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from kombu import pools

from ops.celery import app

PATH = "/api/uploads/"


def close_pools() -> None:
    """Close the broker connections of a test."""
    # Not pool.force_close_all(): kombu hands the closed pool to the next test.
    pools.reset()
    app.amqp._producer_pool = app._pool = None


def send(client: Client, content: bytes, name: str = "holiday.jpg", **headers: str) -> Any:
    """Upload a file as a browser does."""
    return client.post(PATH, {"image": SimpleUploadedFile(name, content)}, headers=headers)


def files(media: Path) -> list[str]:
    """Return the stored files."""
    return sorted(str(path.relative_to(media)) for path in media.rglob("*") if path.is_file())
