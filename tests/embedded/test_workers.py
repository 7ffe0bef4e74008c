"""Two workers on one database, one of them killed: no task is lost, a periodic one is sent once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from ops.environment.contract import VARIABLES
from tests.tree import copy_tree
from tests.waiting import eventually

SETTINGS = """
CELERY_IMPORTS = ["orders"]
CELERY_BEAT_SCHEDULE = {"count": {"task": "orders.count", "schedule": 1}}
"""
TASKS = """
import time
from pathlib import Path

from celery import shared_task

from ops.tasks import DurableTask

FOLDER = Path("var/orders")


@shared_task
def count():
    with (FOLDER / "counts").open("a") as file:
        file.write(f"{time.monotonic()}\\n")


# Lost 3 seconds and a few after it has begun.
@shared_task(base=DurableTask, soft_time_limit=2, time_limit=3)
def ship(order):
    with (FOLDER / order).open("a") as file:
        file.write("begun\\n")
    if (FOLDER / order).read_text().count("begun") == 1:
        time.sleep(60)
    with (FOLDER / order).open("a") as file:
        file.write("shipped\\n")
"""


SHIP = "from orders import ship; ship.delay('tea')"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two tasks, one of them periodic, and a database of its own."""
    tree = copy_tree(tmp_path_factory.mktemp("workers") / "project")
    (tree / "orders.py").write_text(TASKS)
    with (tree / "mysite/settings/base.py").open("a") as settings:
        settings.write(SETTINGS)
    (tree / "var/orders").mkdir(parents=True)
    subprocess.run(
        [sys.executable, "manage.py", "migrate_with_lock", "--verbosity", "0"],
        cwd=tree,
        env=environment(),
        timeout=120,
        check=True,
    )
    return tree


def environment() -> dict[str, str]:
    """Return an environment that sets nothing of the project's."""
    return {name: value for name, value in os.environ.items() if name not in VARIABLES}


@contextmanager
def worker(project: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker for the block's time."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker with the processes that run its tasks."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def lines(project: Path, name: str) -> list[str]:
    """Return what the tasks have written."""
    file = project / "var/orders" / name
    return file.read_text().split() if file.exists() else []


def test_periodic_task_comes_once_whichever_worker_is_killed(project: Path) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(project)) for _ in range(2)]
        eventually(lambda: len(lines(project, "counts")) >= 8, seconds=60, what="it is counted")
        kill(workers[0])
        counted = len(lines(project, "counts"))
        eventually(
            lambda: len(lines(project, "counts")) >= counted + 8, seconds=60, what="it goes on"
        )
        times = [float(line) for line in lines(project, "counts")]
    # Two that schedule would send it twice a second. One of them may be late by a second or two.
    assert len(times) <= times[-1] - times[0] + 4


def test_task_of_a_killed_worker_is_done_by_another(project: Path) -> None:
    with worker(project) as first:
        subprocess.run(
            [sys.executable, "manage.py", "shell", "--command", SHIP],
            cwd=project,
            env=environment(),
            timeout=60,
            check=True,
        )
        eventually(lambda: lines(project, "tea") == ["begun"], seconds=60, what="it has begun")
        kill(first)
        with worker(project):
            eventually(
                lambda: lines(project, "tea") == ["begun", "begun", "shipped"],
                seconds=60,
                what="another worker does it",
            )
