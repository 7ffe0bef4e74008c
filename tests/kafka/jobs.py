"""The project's Celery settings and one job, for real workers on a cluster of the tests' own.

`celery -A tests.kafka.jobs worker`
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

QUEUE = "jobs"
FOLDER = Path(os.environ.get("JOBS_FOLDER", "."))


def on(address: str) -> dict[str, object]:
    """Return the project's settings of a broker for Kafka at an address."""
    names = {"DJANGO_SETTINGS_MODULE": "mysite.settings.test", "DJANGO_READ_DOTENV": "false"}
    url = f"{environment.KAFKA_SCHEME}://{address}"
    env = environment.load({**names, "CELERY_BROKER_URL": url})
    return dict(
        zip(("broker_url", "broker_transport_options"), broker_settings(env, FOLDER), strict=True)
    )


kafka_messages.prepare()
# Not the current one, which the project's tasks would be sent by in the same process.
app = Celery("jobs", set_as_current=False)
app.config_from_object(
    celery_settings(
        **on(os.environ.get("JOBS_KAFKA", "none:1")),
        # Processes are replaced within a test, too, and missed soon; a task may take long.
        **{"task_default_queue": QUEUE, "worker_max_tasks_per_child": 5, "worker_lost_wait": 1},
        **{"task_soft_time_limit": 300, "task_time_limit": 320},
    )
)


@app.task(name="note")
def note(name: str) -> None:
    """Say that it was begun; end when no file of this name holds it any more, and say so."""
    say("begun", name, str(os.getpid()))
    while (FOLDER / name).exists():
        time.sleep(0.05)
    say("done", name)


def say(*words: str) -> None:
    """Add a line to what became of the jobs."""
    with (FOLDER / "log").open("a") as log:
        log.write(" ".join(words) + "\n")
