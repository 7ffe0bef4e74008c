"""Two workers on one database, one of which is killed: no task is lost or sent twice."""

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


# The first attempt counts as lost after its time limit.
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
    """Create a project with a task, a periodic task and its own database."""
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
    """Return an environment without the project's variables."""
    return {name: value for name, value in os.environ.items() if name not in VARIABLES}


@contextmanager
def running_worker(project: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker during the block."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=project,
        env=environment(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker and its child processes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def lines_in(project: Path, name: str) -> list[str]:
    """Return the lines that the tasks have written to a file."""
    file = project / "var/orders" / name
    return file.read_text().split() if file.exists() else []


def test_periodic_task_is_sent_once_by_two_workers_and_after_one_is_killed(project: Path) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(running_worker(project)) for _ in range(2)]
        eventually(
            lambda: len(lines_in(project, "counts")) >= 8, seconds=60, what="the periodic task runs"
        )
        kill(workers[0])
        counted = len(lines_in(project, "counts"))
        eventually(
            lambda: len(lines_in(project, "counts")) >= counted + 8,
            seconds=60,
            what="the periodic task continues",
        )
        times = [float(line) for line in lines_in(project, "counts")]
    # Two schedulers would send it twice a second. The second worker may take over a bit late.
    assert len(times) <= times[-1] - times[0] + 4


def test_task_of_a_killed_worker_is_run_by_another(project: Path) -> None:
    with running_worker(project) as first:
        subprocess.run(
            [sys.executable, "manage.py", "shell", "--command", SHIP],
            cwd=project,
            env=environment(),
            timeout=60,
            check=True,
        )
        eventually(
            lambda: lines_in(project, "tea") == ["begun"], seconds=60, what="the task has started"
        )
        kill(first)
        with running_worker(project):
            eventually(
                lambda: lines_in(project, "tea") == ["begun", "begun", "shipped"],
                seconds=60,
                what="another worker runs the task",
            )
