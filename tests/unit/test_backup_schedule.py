"""The service `backup`, which makes a backup a day without systemd."""

import importlib.util
import json
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from tests.tree import ROOT


@pytest.fixture
def schedule() -> ModuleType:
    """Load the program, which is in no package."""
    spec = importlib.util.spec_from_file_location("schedule", ROOT / "variants/backup/schedule.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


@pytest.mark.parametrize(
    ("now", "latest", "due"),
    [
        ("2030-01-02T02:59", "2030-01-01T03:05", False),
        ("2030-01-02T03:00", "2030-01-01T03:05", True),
        ("2030-01-02T03:30", "2030-01-02T03:05", False),
        # The machine was off at that time.
        ("2030-01-04T12:00", "2030-01-02T03:05", True),
        ("2030-01-04T02:00", "2030-01-02T23:00", True),
        ("2030-01-04T02:00", "2030-01-03T03:00", False),
    ],
)
def test_backup_is_due_once_a_day_and_made_up_for(
    schedule: ModuleType, now: str, latest: str, due: bool
) -> None:
    assert schedule.is_due(at(now), "03:00", at(latest).timestamp()) is due


def test_failed_backup_counts_as_tried(
    schedule: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "backup.json"
    monkeypatch.setattr(schedule, "RECORD", record)
    assert schedule.latest() == 0
    record.write_text(json.dumps({"succeeded": 5, "failed": 7.5}))
    assert schedule.latest() == 7.5
    record.write_text("[1]")
    assert schedule.latest() == 0
    assert schedule.is_due(datetime.now(UTC), "03:00", 0)


def test_backup_runs_as_the_owner_of_the_clone_with_its_secret_files(
    schedule: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "CLONE", str(tmp_path))
    monkeypatch.setenv("LAYER", "production")
    owner = tmp_path.stat()
    container = {
        "Mounts": [
            {"Destination": str(tmp_path), "Source": "/home/me/shop"},
            {"Destination": "/run/secrets/BACKUP_PASSWORD", "Source": "/etc/shop/password"},
            {"Destination": "/run/secrets/BACKUP_SSH_KEY", "Source": "/dev/null"},
        ],
        "Config": {"Image": "shop", "Labels": {"com.docker.compose.project": "shop-production"}},
    }

    words = " ".join(schedule.command(container, 999))

    assert f"--user {owner.st_uid}:{owner.st_gid} --group-add 999 " in words
    assert "--volume /home/me/shop:/home/me/shop --workdir /home/me/shop " in words
    assert "--volume /etc/shop/password:/etc/shop/password:ro " in words
    assert "/dev/null" not in words and " --env LAYER=production " in words
    assert words.endswith("tools.stackctl --project-name shop-production backup --scheduled")
