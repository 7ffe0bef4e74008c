"""What the worker knows of backups: metrics, and an error where one failed or is overdue."""

import json
import logging
import time
from pathlib import Path

import pytest
from django.core import mail
from pytest_django import Settings

from ops import backups


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that stackctl writes."""
    path = tmp_path / "backup.json"
    monkeypatch.setattr(backups, "RECORD", path)
    return path


def note(path: Path, **times: object) -> None:
    path.write_text(json.dumps(times))


def test_metrics_have_the_times_of_the_last_good_and_the_last_failed_backup(record: Path) -> None:
    assert list(backups.Backups().collect()) == []
    record.write_text("cut o")
    assert list(backups.Backups().collect()) == []

    note(record, succeeded=10.5, verified=9, failed=0)

    assert {m.name: m.samples[0].value for m in backups.Backups().collect()} == {
        "mysite_backup_last_success_timestamp_seconds": 10.5,
        "mysite_backup_last_verified_timestamp_seconds": 9,
    }


def test_failed_backup_is_logged_and_mailed_once(
    record: Path, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    settings.ADMINS = [("", "admin@example.com")]
    watch = backups.Watch()
    note(record, failed=time.time() - 3600, problem="before this worker", scheduled=True)
    watch.check()
    assert not caplog.records

    note(record, failed=time.time() + 1, problem="nas does not answer", next="Check its name.")
    watch.check()
    watch.check()

    (line,) = caplog.records
    assert line.levelno == logging.ERROR and "nas does not answer. Check its" in line.getMessage()
    (sent,) = mail.outbox
    assert "The backup failed: nas does not answer" in sent.subject
    assert "Check its name." in sent.body


def test_overdue_backup_is_reported_once_a_day(
    record: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = backups.Watch()
    note(record, succeeded=time.time() - 25 * 3600, scheduled=True)
    watch.check()
    note(record, succeeded=time.time() - 27 * 3600)
    watch.check()
    assert not caplog.records

    note(record, succeeded=time.time() - 27 * 3600, scheduled=True)
    watch.check()
    watch.check()
    assert [r.getMessage() for r in caplog.records] == [
        "The last good backup is 27 hours old. Does its timer run? docs/backups.md"
    ]

    began = time.time()
    for hours, lines in ((1, 1), (23, 1), (25, 2), (48, 2), (50, 3)):
        monkeypatch.setattr(backups.time, "time", lambda at=began + hours * 3600: at)
        watch.check()
        assert len(caplog.records) == lines, hours


def test_failed_backup_does_not_hide_that_the_last_good_one_is_old(
    record: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A timer that runs each day and fails each day."""
    now = time.time()
    note(record, succeeded=now - 27 * 3600, failed=now - 3600, scheduled=True)

    backups.Watch().check()

    (line,) = caplog.records
    assert "The last good backup is 27 hours old" in line.getMessage()
