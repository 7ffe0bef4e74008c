"""/healthz: the state of each component, within its timeout, without secrets."""

import datetime
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.db import connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone
from health_check.base import HealthCheck
from pytest_django import Settings

from ops import registry
from ops.celery import app
from ops.health import checks as health
from ops.health.report import HEALTH
from ops.models import WorkerBeat
from ops.threads import DaemonThreads
from ops.worker import beats
from tests.tree import ROOT

# The checks run in separate threads, which do not see the open transaction of a test.
pytestmark = pytest.mark.django_db(transaction=True)

NAMES = ["database", "migrations", "cache", "broker", "storage", "worker"]
PATIENCE = datetime.timedelta(seconds=10)
# Must never be in a response.
HIDDEN = "hidden"


class BrokenCache(LocMemCache):
    """A cache server that is down, with a client that puts secrets in its error."""

    def set(self, *args: Any, **options: Any) -> None:
        raise ConnectionError(f"redis://user:{HIDDEN}@{HIDDEN}-cache:6379 refused")


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    """Return the MEDIA_ROOT of this test."""
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each check time on a busy machine; another test covers checks that hang."""
    for check in registry.health_checks.values():
        monkeypatch.setattr(check, "timeout", PATIENCE)


@pytest.fixture(autouse=True)
def worker() -> None:
    """Record the heartbeat of a worker."""
    beats.beat("worker@here")


def states(answer: Any) -> dict[str, str]:
    """Return each component's state."""
    return {name: line["status"] for name, line in answer.json()["components"].items()}


def assert_down(answer: Any, **errors: str) -> None:
    """Check that these components are down, each for this reason, and no others."""
    body = answer.json()
    assert (answer.status_code, body["status"]) == (503, "down")
    assert states(answer) == {name: "down" if name in errors else "up" for name in NAMES}
    assert errors == {
        name: line["error"].split(": ", 1)[1]
        for name, line in body["components"].items()
        if "error" in line
    }
    assert HIDDEN not in answer.content.decode()
    assert answer.headers["Cache-Control"] == "no-store"


def test_healthz_is_200_when_all_components_are_up(client: Client, media: Path) -> None:
    answer = client.get("/healthz")

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["status"] == "up"
    assert states(answer) == dict.fromkeys(NAMES, "up")
    for line in answer.json()["components"].values():
        assert set(line) == {"status", "milliseconds"}
        assert 0 <= line["milliseconds"] < 1000 * (PATIENCE.total_seconds() + 1)
    # The check removes its file.
    assert list(media.iterdir()) == []


def test_healthz_reuses_the_last_result(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get("/healthz").json()
    monkeypatch.setattr(HEALTH, "load", lambda: pytest.fail("a component was asked"))

    assert client.get("/healthz").json() == first


def test_healthz_reports_database_down(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(
        connections.settings["default"], "NAME", str(tmp_path / HIDDEN / "db.sqlite3")
    )

    # Pending migrations are unknown without the database.
    assert_down(
        client.get("/healthz"),
        database="does not answer",
        migrations="unknown: the database does not answer",
        worker="unknown: the database does not answer",
    )


@pytest.fixture
def pending_migration() -> Iterator[None]:
    """Record the newest migration as unapplied."""
    newest = MigrationLoader(connection).graph.leaf_nodes("ops")[0]
    MigrationRecorder(connection).record_unapplied(*newest)
    yield
    MigrationRecorder(connection).record_applied(*newest)


@pytest.mark.usefixtures("pending_migration")
def test_healthz_reports_pending_migrations(client: Client) -> None:
    assert_down(client.get("/healthz"), migrations="1 not applied")


@pytest.mark.parametrize(
    ("backend", "error"),
    [
        (f"{__name__}.BrokenCache", "does not answer"),
        (
            "django.core.cache.backends.dummy.DummyCache",
            "did not return the value that was written",
        ),
    ],
)
def test_healthz_reports_cache_down(
    client: Client, settings: Settings, backend: str, error: str
) -> None:
    settings.CACHES = {"default": {"BACKEND": backend}}

    assert_down(client.get("/healthz"), cache=error)


def test_healthz_reports_storage_down(client: Client, settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / HIDDEN

    assert_down(client.get("/healthz"), storage="cannot be written")


def test_healthz_reports_broker_down(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.conf, "broker_write_url", f"redis://:{HIDDEN}@127.0.0.1:1/0")

    assert_down(client.get("/healthz"), broker="does not answer")


def test_healthz_reports_a_missing_worker(client: Client) -> None:
    WorkerBeat.objects.all().delete()

    assert_down(client.get("/healthz"), worker="none has reported yet")


def test_healthz_reports_a_worker_with_an_old_heartbeat_until_another_is_up(client: Client) -> None:
    old = timezone.now() - datetime.timedelta(seconds=beats.STALE_SECONDS + 1)
    WorkerBeat.objects.update(seen=old)

    assert_down(client.get("/healthz"), worker="none was seen for 30 s")
    # One healthy worker is enough.
    beats.beat("worker@there")
    HEALTH.forget()
    assert client.get("/healthz").status_code == 200


def test_healthz_reports_s3_bucket_down_without_credentials(
    client: Client, settings: Settings
) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "ops.storage.bucket.BucketStorage",
            "OPTIONS": {
                "bucket_name": HIDDEN,
                "endpoint_url": "http://127.0.0.1:1",
                "access_key": HIDDEN,
                "secret_key": HIDDEN,
                "region_name": "eu-central-1",
            },
        },
    }

    answer = client.get("/healthz")

    # Refused at once, or after the client's own second attempt.
    assert states(answer)["storage"] == "down"
    assert HIDDEN not in answer.content.decode()


def test_daemon_thread_that_hangs_does_not_delay_process_exit() -> None:
    code = (
        "import time\n"
        "from ops.threads import DaemonThreads\n"
        "DaemonThreads().submit(time.sleep, 600)\n"
    )

    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=False)

    assert ended.returncode == 0


def test_daemon_thread_returns_its_result_or_error() -> None:
    threads = DaemonThreads()

    assert threads.submit(divmod, 7, 2).result(10) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 7, 0).result(10)


def test_healthz_hides_the_text_of_an_unknown_error(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(check: HealthCheck) -> None:
        raise RuntimeError(HIDDEN)

    monkeypatch.setattr(health.StorageCheck, "run", fail)

    assert_down(client.get("/healthz"), storage="unknown error")


def test_healthz_reports_a_component_that_is_up_again(client: Client, settings: Settings) -> None:
    media = settings.MEDIA_ROOT
    settings.MEDIA_ROOT = media / "missing"
    assert client.get("/healthz").status_code == 503

    settings.MEDIA_ROOT = media
    HEALTH.forget()
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("names", [NAMES, ["storage"]])
def test_healthz_reports_hanging_components_as_timed_out(
    client: Client, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    released = threading.Event()
    # Those that do not hang have time.
    for name in names:
        monkeypatch.setattr(registry.health_checks[name], "timeout", health.TIMEOUT)

    def hang(check: HealthCheck) -> None:
        released.wait(60)

    for name in names:
        monkeypatch.setattr(registry.health_checks[name], "run", hang)
    try:
        begun = time.monotonic()
        answer = client.get("/healthz")
        took = time.monotonic() - begun
    finally:
        released.set()

    assert_down(answer, **dict.fromkeys(names, "Timed out after 1 seconds"))
    # Two seconds is the limit; the rest is for a busy machine.
    assert took < 6


def test_healthz_checks_all_components_in_parallel(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the limits do not add up: each check waits until all have begun."""
    together = threading.Barrier(len(NAMES), timeout=10)

    def meet(check: HealthCheck) -> None:
        together.wait()

    for check in registry.health_checks.values():
        monkeypatch.setattr(check, "run", meet)

    assert states(client.get("/healthz")) == dict.fromkeys(NAMES, "up")


@pytest.mark.parametrize(
    ("method", "status"),
    [("get", 200), ("head", 200), ("options", 200), ("post", 405), ("delete", 405)],
)
def test_healthz_allows_get_head_and_options_only(client: Client, method: str, status: int) -> None:
    assert getattr(client, method)("/healthz").status_code == status
