"""A Celery application with one job, for real workers: `celery -A tests.kafka.jobs worker`."""

import os
import time
from pathlib import Path

from celery import Celery

from mysite import kafka_messages
from mysite.settings.backing import KAFKA

QUEUE = "jobs"
FOLDER = Path(os.environ.get("JOBS_FOLDER", "."))

kafka_messages.prepare()
app = Celery("jobs", broker=f"confluentkafka://{os.environ.get('JOBS_KAFKA', 'none:1')}")
app.conf.update(
    task_default_queue=QUEUE,
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_max_tasks_per_child=5,
    broker_connection_timeout=2,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"max_retries": 1, "interval_start": 0},
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0},
    **KAFKA,
)


@app.task(name="note")
def note(name: str) -> None:
    """Say that it was begun; end when no file of this name holds it any more, and say so."""
    say("begun", name)
    while (FOLDER / name).exists():
        time.sleep(0.05)
    say("done", name)


def say(*words: str) -> None:
    """Add a line to what became of the jobs."""
    with (FOLDER / "log").open("a") as log:
        log.write(" ".join(words) + "\n")
