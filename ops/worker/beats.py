"""A worker's sign of life: a row for /healthz, a file for its container's health check."""

import datetime

from django.conf import settings
from django.db.models import Max
from django.utils import timezone

from ops.models import WorkerBeat

EVERY_SECONDS = 5
# A worker that was not seen for so long is down; supervisor/worker-healthcheck says the same.
STALE_SECONDS = 30
# Rows of stopped workers are kept for this long, for the admin.
FORGET_SECONDS = 3600


def touch() -> None:
    """Let this container's health check know that the worker is healthy."""
    settings.WORKER_HEARTBEAT_FILE.parent.mkdir(parents=True, exist_ok=True)
    settings.WORKER_HEARTBEAT_FILE.touch()


def beat(name: str) -> None:
    """Publish that this worker is healthy."""
    now = timezone.now()
    WorkerBeat.objects.update_or_create(name=name, defaults={"seen": now})
    WorkerBeat.objects.filter(seen__lt=now - datetime.timedelta(seconds=FORGET_SECONDS)).delete()


def problem() -> str:
    """Return why no worker counts as healthy; empty if one does."""
    latest = WorkerBeat.objects.aggregate(Max("seen"))["seen__max"]
    if latest is None:
        return "none has reported yet"
    if latest < timezone.now() - datetime.timedelta(seconds=STALE_SECONDS):
        return f"none was seen for {STALE_SECONDS} s"
    return ""
