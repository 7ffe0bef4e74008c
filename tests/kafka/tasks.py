"""A Celery app with the project's settings and one task, for workers on the mock cluster.

`celery -A tests.kafka.tasks worker`
"""

import os
import time
from pathlib import Path

from celery import Celery

from ops import environment
from ops.brokers import kafka as kafka_messages
from ops.settings.backing import broker_settings
from tests.celery_settings import celery_settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.test")

QUEUE = "tasks"
FOLDER = Path(os.environ.get("TASKS_FOLDER", "."))


def kafka_settings(address: str) -> dict[str, object]:
    """Return the broker settings of the project for a Kafka at this address."""
    names = {"DJANGO_SETTINGS_MODULE": "mysite.settings.test", "DJANGO_READ_DOTENV": "false"}
    url = f"{environment.KAFKA_SCHEME}://{address}"
    env = environment.load({**names, "CELERY_BROKER_URL": url})
    return dict(
        zip(("broker_url", "broker_transport_options"), broker_settings(env, FOLDER), strict=True)
    )


kafka_messages.prepare()
# Not the current app, which would send the project's tasks in the same process.
app = Celery("tasks", set_as_current=False)
app.config_from_object(
    celery_settings(
        **kafka_settings(os.environ.get("TASKS_KAFKA", "none:1")),
        # Short limits: processes are replaced and missed within a test.
        **{"task_default_queue": QUEUE, "worker_max_tasks_per_child": 5, "worker_lost_wait": 1},
        **{"task_soft_time_limit": 300, "task_time_limit": 320},
    )
)


@app.task(name="record")
def record(name: str) -> None:
    """Log the start; wait while a file with this name exists; log the end."""
    append_to_log("begun", name, str(os.getpid()))
    while (FOLDER / name).exists():
        time.sleep(0.05)
    append_to_log("done", name)


def append_to_log(*words: str) -> None:
    """Add a line to the log of all tasks."""
    with (FOLDER / "log").open("a") as log:
        log.write(" ".join(words) + "\n")
