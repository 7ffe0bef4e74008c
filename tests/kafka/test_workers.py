"""Real workers on librdkafka's own cluster, with the project's settings."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.brokers.kafka.transport import SESSION_SECONDS
from tests.kafka.harness import Cluster
from tests.waiting import eventually

JOBS = 16
# A worker's start, and its group's: seconds where nothing else runs.
START_SECONDS = 90
TOPIC = "jobs"
HIDDEN = b"nobody is to read this"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without a topic."""
    found = Cluster(tmp_path)
    yield found
    found.kill()


def test_a_killed_worker_s_jobs_are_done_by_another(cluster: Cluster) -> None:
    """Also one that was begun long before others that are done already."""
    cluster.make(TOPIC)
    names = [f"job{number}" for number in range(JOBS)]
    held, others = names[0], set(names[1:])
    (cluster.folder / held).touch()
    cluster.send(*names)
    assert cluster.waiting() == JOBS

    with cluster.worker("first") as first:
        eventually(
            lambda: set(cluster.told("done")) >= others, seconds=START_SECONDS, what="the others"
        )
        assert cluster.told("begun")[held] == 1 and not cluster.told("done")[held]
        os.killpg(first.pid, signal.SIGKILL)
    (cluster.folder / held).unlink()
    with cluster.worker("second"):
        eventually(
            lambda: cluster.told("done")[held], seconds=SESSION_SECONDS + 60, what="the killed one"
        )
        eventually(lambda: cluster.waiting() == 0, seconds=30, what="nothing waits")
    assert set(cluster.told("done")) == set(names)


def test_a_worker_waits_for_kafka_and_passes_over_what_is_no_job(cluster: Cluster) -> None:
    """What cannot be read would come again for ever; what is done when it ends is told."""
    with cluster.worker("early") as worker:
        log = cluster.log_of("early")
        # This cluster makes no topic when it is told to, as one that is not ready yet.
        eventually(
            lambda: "NoBrokersAvailable" in log.read_text(),
            seconds=START_SECONDS,
            what="it has no topic",
        )
        cluster.make(TOPIC)
        empty = b'{"properties": {}, "body": ""}'
        strange = b'{"properties": {"body_encoding": "rot13"}, "body": "x", "headers": {}}'
        broken = b'{"properties": {"body_encoding": "base64"}, "body": "x"}'
        nested = b"[" * 100_000
        listed = b'{"properties": {}, "body": "", "headers": [1]}'
        nameless = b'{"properties": {}, "body": "", "headers": {"task": [], "id": "1"}}'
        refused = (HIDDEN, b"\xff", b"[]", None, b"{}", empty, strange, broken, nested)
        cluster.write(TOPIC, *refused, listed, nameless)
        # More than are done at a time: all partitions are read on.
        names = [f"job{number}" for number in range(4)]
        cluster.send(*names)
        eventually(
            lambda: set(cluster.told("done")) == set(names), seconds=START_SECONDS, what="the jobs"
        )
        eventually(lambda: cluster.waiting() == 0, seconds=30, what="nothing waits")
        written = log.read_text()
        assert written.count("passed over") >= 8 and f"in topic {TOPIC}, partition " in written
        assert HIDDEN.decode() not in written
        # A job that runs when the worker is told to end is done, and said to be.
        (cluster.folder / "last").touch()
        cluster.send("last")
        eventually(lambda: cluster.told("begun")["last"], seconds=30, what="the last job")
        worker.send_signal(signal.SIGTERM)
        eventually(lambda: "Warm shutdown" in log.read_text(), seconds=30, what="it ends")
        (cluster.folder / "last").unlink()
        assert worker.wait(60) == 0
    assert cluster.told("done")["last"] == 1
    assert cluster.waiting() == 0


def test_a_silent_kafka_costs_a_worker_no_place(cluster: Cluster) -> None:
    """Its processes are killed meanwhile: the tasks are to be written again, and cannot be."""
    cluster.make(TOPIC)
    held = ["job0", "job1"]
    for name in held:
        (cluster.folder / name).touch()
    cluster.send(*held)
    with cluster.worker("one") as worker:
        log = cluster.log_of("one")
        eventually(
            lambda: set(cluster.told("begun")) == set(held),
            seconds=START_SECONDS,
            what="every place is taken",
        )
        cluster.freeze()
        for process in cluster.processes():
            os.kill(process, signal.SIGKILL)
        eventually(
            lambda: "is not written" in log.read_text() or "NoBrokers" in log.read_text(),
            seconds=60,
            what="Kafka takes nothing",
        )
        for name in held:
            (cluster.folder / name).unlink()
        cluster.thaw()

        cluster.send("later")
        names = {*held, "later"}
        eventually(lambda: set(cluster.told("done")) == names, seconds=60, what="all are done")
        eventually(lambda: cluster.waiting() == 0, seconds=30, what="nothing waits")
        # With Kafka frozen it ends all the same, though it cannot tell what is done.
        (cluster.folder / "last").touch()
        cluster.send("last")
        eventually(lambda: cluster.told("begun")["last"], seconds=30, what="the last job")
        cluster.freeze()
        (cluster.folder / "last").unlink()
        eventually(lambda: cluster.told("done")["last"], seconds=30, what="the last job is done")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
