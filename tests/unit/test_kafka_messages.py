"""Kafka's transport without a cluster; tests/kafka has one."""

import sys
import threading
from concurrent.futures import Future
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from django.conf import settings
from kombu import Connection

from ops.brokers.kafka import prepare
from ops.brokers.kafka.clients import NoBrokersAvailable
from ops.brokers.kafka.progress import PartitionProgress, Positions
from ops.brokers.kafka.transport import PARTITIONS, Channel, Transport
from ops.environment import KAFKA_SCHEME

TOPIC = "jobs"


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
    progress = PartitionProgress()
    for offset in range(3):
        progress.fetched(offset)

    assert [progress.done(offset) for offset in order] == committed


def test_a_log_that_kafka_has_lost_counts_from_its_new_beginning() -> None:
    progress = PartitionProgress()
    progress.fetched(49)
    assert progress.done(49) == 50

    progress.fetched(0)
    assert progress.done(0) == 1


def test_a_partition_that_is_another_s_by_now_is_not_told_of() -> None:
    positions = Positions()
    positions.fetched(TOPIC, 0, 7)
    positions.forget(TOPIC, 0)

    positions.done(TOPIC, 0, 7)

    assert positions.to_tell(TOPIC) == []
    # It came back, and the other one was further: never back to before that.
    positions.fetched(TOPIC, 0, 9)
    positions.done(TOPIC, 0, 7)
    assert positions.to_tell(TOPIC) == [(0, 9)]


def test_jobs_end_in_one_thread_while_another_tells_kafka() -> None:
    positions = Positions()
    keys = range(20_000)
    for partition in keys:
        positions.fetched(TOPIC, partition, 0)

    def end_all() -> None:
        for partition in keys:
            positions.done(TOPIC, partition, 0)
        for partition in keys:
            positions.confirmed(TOPIC, partition, 1)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=end_all)
        thread.start()
        while thread.is_alive():
            # "dictionary changed size during iteration", were it not for the lock.
            positions.to_tell(TOPIC)
        thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert positions.to_tell(TOPIC) == []


class Admin:
    """Creates topics on request; the cluster creates none for an administrator."""

    def __init__(self, error: Exception | None) -> None:
        """Note what becomes of a topic: nothing at all with a TimeoutError."""
        self.error = error
        self.asked: list[tuple[str, int]] = []

    def list_topics(self, timeout: float) -> Any:
        """Return that there is none."""
        return SimpleNamespace(topics={})

    def create_topics(self, topics: list[Any], request_timeout: float) -> dict[str, Future[None]]:
        """Answer."""
        (topic,) = topics
        self.asked.append((topic.topic, topic.num_partitions))
        made: Future[None] = Future()
        if self.error is None:
            made.set_result(None)
        elif not isinstance(self.error, TimeoutError):
            made.set_exception(self.error)
        return {topic.topic: made}


def refusal(code: int) -> KafkaException:
    """Return what Kafka's refusal is raised as."""
    return KafkaException(KafkaError(code))


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (None, False),
        (refusal(KafkaError.TOPIC_ALREADY_EXISTS), False),
        (refusal(KafkaError.INVALID_REPLICATION_FACTOR), True),
        (TimeoutError(), True),
    ],
)
def test_a_topic_is_made_for_all_workers(
    error: Exception | None, *, raised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = Admin(error)
    monkeypatch.setattr(Channel, "_open", lambda self: admin)
    monkeypatch.setattr("ops.brokers.kafka.transport.ANSWER_SECONDS", 0.1)
    prepare()
    channel = Connection(f"{KAFKA_SCHEME}://none:1").default_channel

    with pytest.raises(NoBrokersAvailable) if raised else nullcontext():
        channel._new_queue("made@here")

    assert admin.asked == [("madehere", PARTITIONS)]
    # A moment later Kafka may not know it yet.
    assert channel._size("made@here") == 0


def test_a_kafka_that_is_not_ready_is_a_lost_connection() -> None:
    """Else a worker that starts in parallel ends."""
    assert issubclass(NoBrokersAvailable, Transport.connection_errors)
    assert issubclass(NoBrokersAvailable, Transport.recoverable_connection_errors)


def test_a_worker_whose_places_are_all_taken_is_not_taken_for_hung(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It reads nothing meanwhile; Kafka would give its partitions to another worker."""
    asked: list[dict[str, Any]] = []

    def consumer(options: dict[str, Any]) -> Any:
        asked.append(options)
        return SimpleNamespace(subscribe=lambda *_, **__: None)

    monkeypatch.setattr("ops.brokers.kafka.transport.Consumer", consumer)
    monkeypatch.setattr(Channel, "_open", lambda self: None)
    prepare()
    channel: Any = Connection(f"{KAFKA_SCHEME}://none:1").default_channel

    channel._get_consumer("jobs")

    (options,) = asked
    assert options["max.poll.interval.ms"] > 2 * settings.CELERY_TASK_TIME_LIMIT * 1000


@pytest.mark.parametrize(("host", "server"), [("kafka", "kafka:9092"), ("kafka:19", "kafka:19")])
def test_a_port_need_not_be_named(host: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "_open", lambda self: None)
    prepare()

    channel = Connection(f"{KAFKA_SCHEME}://{host}").default_channel

    assert isinstance(channel, Channel)
    assert channel.common_config["bootstrap.servers"] == server
