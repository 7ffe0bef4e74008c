"""Messages in Kafka: real workers on librdkafka's own cluster, which speaks Kafka's protocol."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from mysite.kafka_messages import ANSWER_SECONDS, SESSION_SECONDS, Progress
from tests.tree import ROOT
from tests.waiting import eventually

JOBS = 16


class Cluster:
    """A cluster in a process of its own, and what uses it."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kafka.cluster", "jobs"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()
        self.environment = {
            **os.environ,
            "JOBS_KAFKA": self.address,
            "JOBS_FOLDER": str(folder),
        }

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()

    def send(self, *names: str) -> None:
        """Send a job for each name."""
        code = f"from tests.kafka.jobs import note\nfor name in {names!r}: note.delay(name)"
        self.python(code)

    def waiting(self) -> int:
        """Return how many messages are not done."""
        code = (
            "from tests.kafka.jobs import QUEUE, app\n"
            "with app.connection_for_write() as connection:\n"
            "    told = connection.default_channel.queue_declare(QUEUE, passive=True)\n"
            "    print(told.message_count)"
        )
        return int(self.python(code))

    def python(self, code: str) -> str:
        """Run code that knows the cluster, and return what it printed."""
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    @contextmanager
    def worker(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker of two processes for the block's time."""
        with (self.folder / f"{name}.log").open("wb") as log:
            worker = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "tests.kafka.jobs", "worker"),
                    *("--without-gossip", "--without-mingle", "--concurrency", "2"),
                    *("--hostname", f"{name}@here", "--loglevel", "info"),
                ],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield worker
            finally:
                if worker.poll() is None:
                    os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()

    def told(self, word: str) -> Counter[str]:
        """Return how often each job was begun, or done."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter(line.split()[1] for line in lines if line.startswith(word))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with a topic for the jobs."""
    found = Cluster(tmp_path)
    yield found
    found.kill()


@pytest.mark.parametrize(
    ("order", "committed"),
    [
        ([0, 1, 2], [1, 2, 3]),
        ([2, 1, 0], [0, 0, 3]),
        ([1, 0, 2], [0, 2, 3]),
    ],
)
def test_a_partition_is_done_up_to_the_first_that_is_not(
    order: list[int], committed: list[int]
) -> None:
    progress = Progress()
    for offset in range(3):
        progress.fetched(offset)

    assert [progress.done(offset) for offset in order] == committed


def test_a_killed_worker_s_jobs_are_done_by_another(cluster: Cluster) -> None:
    """Also one that was begun long before others that are done already."""
    names = [f"job{number}" for number in range(JOBS)]
    held, others = names[0], set(names[1:])
    (cluster.folder / held).touch()
    cluster.send(*names)
    assert cluster.waiting() == JOBS

    with cluster.worker("first") as first:
        eventually(lambda: set(cluster.told("done")) >= others, seconds=60, what="the others")
        assert cluster.told("begun")[held] == 1 and not cluster.told("done")[held]
        os.killpg(first.pid, signal.SIGKILL)
    (cluster.folder / held).unlink()
    with cluster.worker("second") as second:
        eventually(
            lambda: cluster.told("done")[held], seconds=SESSION_SECONDS + 60, what="the killed one"
        )
        eventually(lambda: cluster.waiting() == 0, seconds=30, what="nothing waits")
        # It ends in order, too.
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0
    assert set(cluster.told("done")) == set(names)


@pytest.fixture
def publish(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Return what sends a job from this process."""
    from tests.kafka.jobs import app, note

    monkeypatch.setattr(app.conf, "broker_write_url", f"confluentkafka://{cluster.address}")
    return lambda name: note.delay(name)


def test_a_message_that_kafka_did_not_take_is_not_sent(
    cluster: Cluster, publish: Callable[[str], object]
) -> None:
    """Kombu's own transport says that it is."""
    publish("taken")
    cluster.kill()
    begun = time.monotonic()

    with pytest.raises((OperationalError, OSError)):
        publish("lost")

    # Once, and once more on a new connection.
    assert time.monotonic() - begun < 3 * (ANSWER_SECONDS + 1)
