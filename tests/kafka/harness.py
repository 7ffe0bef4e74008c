"""A mock cluster in its own process, with workers and clients."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.tree import ROOT


class Cluster:
    """A mock cluster in its own process, and its workers and clients."""

    def __init__(self, folder: Path, *topics: str) -> None:
        """Start the cluster with these topics."""
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kafka.cluster", *topics],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()
        self.environment = {
            **os.environ,
            "TASKS_KAFKA": self.address,
            "TASKS_FOLDER": str(folder),
        }

    def kill(self) -> None:
        """Kill the cluster."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop the process: connections stay open, but the cluster does not answer."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the process."""
        self.process.send_signal(signal.SIGCONT)

    def create_topic(self, topic: str) -> None:
        """Create a topic; the cluster creates topics that clients name."""
        AdminClient({"bootstrap.servers": self.address}).list_topics(topic, timeout=5)

    def write(self, topic: str, *messages: bytes | None) -> None:
        """Write raw messages to a topic."""
        producer = Producer({"bootstrap.servers": self.address})
        for message in messages:
            producer.produce(topic, message)
        assert producer.flush(10) == 0

    def send(self, *names: str) -> None:
        """Send a task for each name."""
        code = f"from tests.kafka.tasks import record\nfor name in {names!r}: record.delay(name)"
        self.python(code)

    def unfinished(self) -> int:
        """Return the number of messages that are not acknowledged."""
        code = (
            "from tests.kafka.tasks import QUEUE, app\n"
            "with app.connection_for_write() as connection:\n"
            "    queue = connection.default_channel.queue_declare(QUEUE, passive=True)\n"
            "    print(queue.message_count)"
        )
        return int(self.python(code))

    def python(self, code: str) -> str:
        """Run Python code with the settings of the cluster, and return its output."""
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
        """Run a worker with two processes during the block."""
        with self.log_of(name).open("wb") as log:
            worker = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "tests.kafka.tasks", "worker"),
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

    def log_of(self, name: str) -> Path:
        """Return the log file of a worker."""
        return self.folder / f"{name}.log"

    def processes(self) -> set[int]:
        """Return the processes that have started a task."""
        lines = (self.folder / "log").read_text().splitlines()
        return {int(line.split()[2]) for line in lines if line.startswith("begun")}

    def counts(self, word: str) -> Counter[str]:
        """Return how often each task was logged with a word: begun, done."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter(line.split()[1] for line in lines if line.startswith(word))
