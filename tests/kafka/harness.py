"""A cluster in a process of its own, and what a test does with it."""

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
    """A cluster in a process of its own, and what uses it."""

    def __init__(self, folder: Path, *topics: str) -> None:
        """Start it, with these topics."""
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
            "JOBS_KAFKA": self.address,
            "JOBS_FOLDER": str(folder),
        }

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Let it take what is sent, and answer nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        self.process.send_signal(signal.SIGCONT)

    def make(self, topic: str) -> None:
        """Make a topic; the cluster does so for clients that name one."""
        AdminClient({"bootstrap.servers": self.address}).list_topics(topic, timeout=5)

    def write(self, topic: str, *messages: bytes | None) -> None:
        """Write what is no job."""
        producer = Producer({"bootstrap.servers": self.address})
        for message in messages:
            producer.produce(topic, message)
        assert producer.flush(10) == 0

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
        with self.log_of(name).open("wb") as log:
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

    def log_of(self, name: str) -> Path:
        """Return what a worker wrote."""
        return self.folder / f"{name}.log"

    def processes(self) -> set[int]:
        """Return the processes that have begun a job."""
        lines = (self.folder / "log").read_text().splitlines()
        return {int(line.split()[2]) for line in lines if line.startswith("begun")}

    def told(self, word: str) -> Counter[str]:
        """Return how often each job was begun, or done."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter(line.split()[1] for line in lines if line.startswith(word))
