"""The Kafka transport without a cluster; tests/kafka has one."""

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
def test_kafka_offset_is_committed_up_to_the_first_unfinished_message(
    order: list[int], committed: list[int]
) -> None:
    progress = PartitionProgress()
    for offset in range(3):
        progress.fetched(offset)

    assert [progress.done(offset) for offset in order] == committed


def test_kafka_offset_restarts_after_a_lost_log() -> None:
    progress = PartitionProgress()
    progress.fetched(49)
    assert progress.done(49) == 50

    progress.fetched(0)
    assert progress.done(0) == 1


def test_kafka_offset_of_a_revoked_partition_is_not_committed() -> None:
    positions = Positions()
    positions.fetched(TOPIC, 0, 7)
    positions.forget(TOPIC, 0)

    positions.done(TOPIC, 0, 7)

    assert positions.uncommitted(TOPIC) == []
    # The partition came back with a later offset: the commit must not go back.
    positions.fetched(TOPIC, 0, 9)
    positions.done(TOPIC, 0, 7)
    assert positions.uncommitted(TOPIC) == [(0, 9)]


def test_kafka_offsets_can_be_committed_while_tasks_finish_in_another_thread() -> None:
    positions = Positions()
    keys = range(20_000)
    for partition in keys:
        positions.fetched(TOPIC, partition, 0)

    def finish_all() -> None:
        for partition in keys:
            positions.done(TOPIC, partition, 0)
        for partition in keys:
            positions.confirmed(TOPIC, partition, 1)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=finish_all)
        thread.start()
        while thread.is_alive():
            # Without a lock: "dictionary changed size during iteration".
            positions.uncommitted(TOPIC)
        thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert positions.uncommitted(TOPIC) == []


class Admin:
    """Creates topics on request; the cluster creates none for an administrator."""

    def __init__(self, error: Exception | None) -> None:
        """Set the result of topic creation; with a TimeoutError, it never ends."""
        self.error = error
        self.requested: list[tuple[str, int]] = []

    def list_topics(self, timeout: float) -> Any:
        """Return no topics."""
        return SimpleNamespace(topics={})

    def create_topics(self, topics: list[Any], request_timeout: float) -> dict[str, Future[None]]:
        """Record the request and return its result."""
        (topic,) = topics
        self.requested.append((topic.topic, topic.num_partitions))
        created: Future[None] = Future()
        if self.error is None:
            created.set_result(None)
        elif not isinstance(self.error, TimeoutError):
            created.set_exception(self.error)
        return {topic.topic: created}


def refusal(code: int) -> KafkaException:
    """Return the exception for a Kafka error code."""
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
def test_kafka_topic_is_created_with_partitions_for_all_workers(
    error: Exception | None, *, raised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = Admin(error)
    monkeypatch.setattr(Channel, "_open", lambda self: admin)
    monkeypatch.setattr("ops.brokers.kafka.transport.ANSWER_SECONDS", 0.1)
    prepare()
    channel = Connection(f"{KAFKA_SCHEME}://none:1").default_channel

    with pytest.raises(NoBrokersAvailable) if raised else nullcontext():
        channel._new_queue("made@here")

    assert admin.requested == [("madehere", PARTITIONS)]
    # Kafka may not list the new topic yet.
    assert channel._size("made@here") == 0


def test_kafka_that_is_not_ready_is_a_recoverable_connection_error() -> None:
    """Otherwise a worker that starts in parallel ends."""
    assert issubclass(NoBrokersAvailable, Transport.connection_errors)
    assert issubclass(NoBrokersAvailable, Transport.recoverable_connection_errors)


def test_kafka_poll_interval_is_longer_than_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A busy worker does not poll; Kafka would reassign its partitions."""
    requested: list[dict[str, Any]] = []

    def consumer(options: dict[str, Any]) -> Any:
        requested.append(options)
        return SimpleNamespace(subscribe=lambda *_, **__: None)

    monkeypatch.setattr("ops.brokers.kafka.transport.Consumer", consumer)
    monkeypatch.setattr(Channel, "_open", lambda self: None)
    prepare()
    channel: Any = Connection(f"{KAFKA_SCHEME}://none:1").default_channel

    channel._get_consumer("jobs")

    (options,) = requested
    assert options["max.poll.interval.ms"] > 2 * settings.CELERY_TASK_TIME_LIMIT * 1000


@pytest.mark.parametrize(("host", "server"), [("kafka", "kafka:9092"), ("kafka:19", "kafka:19")])
def test_kafka_port_defaults_to_9092(
    host: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Channel, "_open", lambda self: None)
    prepare()

    channel = Connection(f"{KAFKA_SCHEME}://{host}").default_channel

    assert isinstance(channel, Channel)
    assert channel.common_config["bootstrap.servers"] == server
