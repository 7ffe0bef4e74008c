"""A worker whose broker is down names it and the reason, and can be stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.ports import free_port
from tests.tree import ROOT

# Kafka without login, and with several addresses.
BROKERS = (
    ("redis", "someone:hidden-word@", ""),
    ("amqp", "someone:hidden-word@", ""),
    ("confluentkafka", "", ";confluentkafka://127.0.0.1:9"),
)


def started(url: str, folder: Path) -> subprocess.Popen[str]:
    """Start a worker with a broker that is down."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "mysite.settings.local",
            "DJANGO_READ_DOTENV": "false",
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "CELERY_BROKER_URL": url,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_worker_names_the_broker_that_it_waits_for_and_ends_on_sigterm(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    # In parallel, because the Kafka client is slow.
    workers = {
        scheme: started(f"{scheme}://{login}{address}/{others}", tmp_path)
        for scheme, login, others in BROKERS
    }
    try:
        for scheme, worker in workers.items():
            assert worker.stdout
            first_line = next(line for line in worker.stdout if "waiting" in line)
            worker.send_signal(signal.SIGTERM)
            rest, _ = worker.communicate(timeout=15)
            assert f"waiting for the message broker {scheme}://{address}: " in first_line
            assert "hidden-word" not in first_line + rest
            # It handles the signal: as the first process of a container it must.
            assert worker.returncode == 0
    finally:
        for worker in workers.values():
            worker.kill()
