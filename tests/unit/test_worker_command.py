"""The worker waits for its broker: it says for which and why, and can be ended meanwhile."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.tree import ROOT


@pytest.mark.parametrize(
    ("scheme", "login", "others"),
    # Kafka has no login here, and may have several addresses.
    [
        ("redis", "someone:hidden-word@", ""),
        ("amqp", "someone:hidden-word@", ""),
        ("confluentkafka", "", ";confluentkafka://127.0.0.1:9"),
    ],
)
def test_it_says_what_it_waits_for_and_ends_when_told(
    scheme: str, login: str, others: str, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "mysite.settings.local",
            "DJANGO_READ_DOTENV": "false",
            "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
            "CELERY_BROKER_URL": f"{scheme}://{login}{address}/{others}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert worker.stdout
        told = next(line for line in worker.stdout if "waiting" in line)
        worker.send_signal(signal.SIGTERM)

        rest, _ = worker.communicate(timeout=15)
    finally:
        worker.kill()
    assert f"waiting for the message broker {scheme}://{address}: " in told
    assert "hidden-word" not in told + rest
    # Not by the signal itself, which a container's first process would not be ended by.
    assert worker.returncode == 0
