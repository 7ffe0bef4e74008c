"""Workers with the project's settings on the mock cluster."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.brokers.kafka.transport import SESSION_SECONDS
from tests.kafka.harness import Cluster
from tests.waiting import eventually

TASKS = 16
# Start of a worker and its consumer group; a few seconds on an idle machine.
START_SECONDS = 90
TOPIC = "tasks"
SECRET_TEXT = b"a secret in a message"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Start a cluster without topics."""
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.kill()


def test_tasks_of_a_killed_worker_are_run_by_another(cluster: Cluster) -> None:
    """Even a task that was started before others that are finished."""
    cluster.create_topic(TOPIC)
    names = [f"task{number}" for number in range(TASKS)]
    held, others = names[0], set(names[1:])
    (cluster.folder / held).touch()
    cluster.send(*names)
    assert cluster.unfinished() == TASKS

    with cluster.worker("first") as first:
        eventually(
            lambda: set(cluster.counts("done")) >= others,
            seconds=START_SECONDS,
            what="the other tasks are done",
        )
        assert cluster.counts("begun")[held] == 1 and not cluster.counts("done")[held]
        os.killpg(first.pid, signal.SIGKILL)
    (cluster.folder / held).unlink()
    with cluster.worker("second"):
        eventually(
            lambda: cluster.counts("done")[held],
            seconds=SESSION_SECONDS + 60,
            what="the task of the killed worker is done",
        )
        eventually(
            lambda: cluster.unfinished() == 0, seconds=30, what="every message is acknowledged"
        )
    assert set(cluster.counts("done")) == set(names)


def test_worker_waits_for_kafka_and_skips_malformed_messages(cluster: Cluster) -> None:
    """A malformed message would otherwise be redelivered forever."""
    with cluster.worker("early") as worker:
        log = cluster.log_of("early")
        # The cluster has no topic yet, like one that is not ready.
        eventually(
            lambda: "NoBrokersAvailable" in log.read_text(),
            seconds=START_SECONDS,
            what="the worker reports that the topic is missing",
        )
        cluster.create_topic(TOPIC)
        empty = b'{"properties": {}, "body": ""}'
        unknown_encoding = b'{"properties": {"body_encoding": "rot13"}, "body": "x", "headers": {}}'
        invalid_base64 = b'{"properties": {"body_encoding": "base64"}, "body": "x"}'
        nested = b"[" * 100_000
        headers_as_list = b'{"properties": {}, "body": "", "headers": [1]}'
        without_task_name = b'{"properties": {}, "body": "", "headers": {"task": [], "id": "1"}}'
        malformed = (
            SECRET_TEXT,
            b"\xff",
            b"[]",
            None,
            b"{}",
            empty,
            unknown_encoding,
            invalid_base64,
            nested,
        )
        cluster.write(TOPIC, *malformed, headers_as_list, without_task_name)
        # More than run at a time, so that all partitions are read.
        names = [f"task{number}" for number in range(4)]
        cluster.send(*names)
        eventually(
            lambda: set(cluster.counts("done")) == set(names),
            seconds=START_SECONDS,
            what="all tasks are done",
        )
        eventually(
            lambda: cluster.unfinished() == 0, seconds=30, what="every message is acknowledged"
        )
        log_text = log.read_text()
        assert (
            log_text.count("skipped an invalid message") >= 8
            and f"in topic {TOPIC}, partition " in log_text
        )
        assert SECRET_TEXT.decode() not in log_text
        # A task that runs during a warm shutdown is finished and acknowledged.
        (cluster.folder / "last").touch()
        cluster.send("last")
        eventually(
            lambda: cluster.counts("begun")["last"], seconds=30, what="the last task has started"
        )
        worker.send_signal(signal.SIGTERM)
        eventually(
            lambda: "Warm shutdown" in log.read_text(), seconds=30, what="the worker shuts down"
        )
        (cluster.folder / "last").unlink()
        assert worker.wait(60) == 0
    assert cluster.counts("done")["last"] == 1
    assert cluster.unfinished() == 0


def test_worker_keeps_its_slots_when_kafka_does_not_answer(cluster: Cluster) -> None:
    """Its processes are killed meanwhile, so their tasks must be requeued, which fails."""
    cluster.create_topic(TOPIC)
    held = ["task0", "task1"]
    for name in held:
        (cluster.folder / name).touch()
    cluster.send(*held)
    with cluster.worker("one") as worker:
        log = cluster.log_of("one")
        eventually(
            lambda: set(cluster.counts("begun")) == set(held),
            seconds=START_SECONDS,
            what="every slot is occupied",
        )
        cluster.freeze()
        for process in cluster.processes():
            os.kill(process, signal.SIGKILL)
        eventually(
            lambda: "is not written" in log.read_text() or "NoBrokers" in log.read_text(),
            seconds=60,
            what="writing to Kafka fails",
        )
        for name in held:
            (cluster.folder / name).unlink()
        cluster.thaw()

        cluster.send("later")
        names = {*held, "later"}
        eventually(
            lambda: set(cluster.counts("done")) == names, seconds=60, what="all tasks are done"
        )
        eventually(
            lambda: cluster.unfinished() == 0, seconds=30, what="every message is acknowledged"
        )
        # With Kafka frozen the worker still ends, though it cannot acknowledge.
        (cluster.folder / "last").touch()
        cluster.send("last")
        eventually(
            lambda: cluster.counts("begun")["last"], seconds=30, what="the last task has started"
        )
        cluster.freeze()
        (cluster.folder / "last").unlink()
        eventually(lambda: cluster.counts("done")["last"], seconds=30, what="the last task is done")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
