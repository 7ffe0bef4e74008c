"""Publishing, requeueing and acknowledging messages on the mock cluster."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from confluent_kafka import Producer
from kombu import Connection
from kombu.exceptions import OperationalError

from ops.brokers.kafka import clients, prepare
from ops.brokers.kafka.clients import ANSWER_SECONDS, NoBrokersAvailable
from ops.brokers.kafka.transport import Channel
from ops.environment import KAFKA_SCHEME
from tests.kafka.cluster import c_handle, librdkafka
from tests.kafka.harness import Cluster
from tests.waiting import eventually

TOPIC = "tasks"
# RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER of librdkafka.
OUT_OF_ORDER = 45


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Start a cluster with a topic for tasks."""
    cluster = Cluster(tmp_path, TOPIC)
    yield cluster
    cluster.kill()


@pytest.fixture
def channel(cluster: Cluster) -> Iterator[Channel]:
    """Open a channel to the cluster, as a worker does."""
    prepare()
    with Connection(f"{KAFKA_SCHEME}://{cluster.address}") as connection:
        channel = connection.default_channel
        channel.queue_declare(TOPIC)
        yield channel


def send(channel: Channel, body: str) -> None:
    """Send a message."""
    message = channel.prepare_message(body, content_type="text/plain", content_encoding="utf-8")
    channel.basic_publish(message, exchange="", routing_key=TOPIC)


def cause_fatal_error(producer: Producer) -> None:
    """Cause a fatal error in a producer, as the tests of librdkafka do."""
    assert librdkafka().rd_kafka_test_fatal_error(c_handle(producer), OUT_OF_ORDER, b"a test") == 0


def drain_once(channel: Channel) -> bool:
    """Receive events once, as a worker does in a loop; return True, for conditions."""
    with suppress(Empty):
        channel.drain_events()
    return True


def start_receiving(channel: Channel) -> Callable[[], Any]:
    """Start a consumer; return a function that waits for the next message."""
    messages: list[Any] = []
    channel.basic_consume(TOPIC, no_ack=False, callback=messages.append, consumer_tag="tag")

    def next_one() -> Any:
        eventually(lambda: drain_once(channel) and messages, seconds=60, what="a message arrives")
        return messages.pop(0)

    return next_one


def test_requeued_message_is_a_new_message(channel: Channel) -> None:
    """Otherwise acknowledging the copy would also acknowledge earlier messages."""
    receive = start_receiving(channel)
    send(channel, "again")
    first = receive()

    first.reject(requeue=True)
    copy = receive()

    assert copy.body == first.body
    assert copy.delivery_tag != first.delivery_tag and copy.place != first.place
    copy.ack()
    eventually(
        lambda: drain_once(channel) and channel._size(TOPIC) == 0,
        seconds=30,
        what="the queue is empty",
    )


def test_message_is_requeued_once_kafka_answers_again(cluster: Cluster, channel: Channel) -> None:
    """Even when all slots of the worker are occupied."""
    receive = start_receiving(channel)
    channel.basic_qos(prefetch_count=2)
    for body in "ab":
        send(channel, body)
    messages = [receive(), receive()]
    cluster.freeze()

    for message in messages:
        message.reject(requeue=True)
    eventually(lambda: drain_once(channel) and channel.refused, seconds=30, what="requeueing fails")
    assert len(channel.rejected) == 2
    assert channel.qos.can_consume()
    cluster.thaw()

    # A message that Kafka stored without an acknowledgement arrives twice.
    copies: set[bytes] = set()
    while copies != {message.body for message in messages}:
        copy = receive()
        copies.add(copy.body)
        copy.ack()


def test_producer_is_recreated_after_a_fatal_error(cluster: Cluster, channel: Channel) -> None:
    send(channel, "accepted")
    cause_fatal_error(
        next(
            client
            for key, client in clients.kept.clients.items()
            if key[1] is Producer and ("bootstrap.servers", cluster.address) in key
        )
    )

    with pytest.raises(OperationalError, match="_FATAL"):
        send(channel, "refused")
    send(channel, "accepted again")

    assert channel._size(TOPIC) == 2


def test_closing_a_channel_to_a_frozen_kafka_ends(cluster: Cluster, channel: Channel) -> None:
    """The client library would wait forever for an answer."""
    receive = start_receiving(channel)
    send(channel, "done")
    message = receive()
    cluster.freeze()
    message.ack()
    leaving = threading.Thread(target=channel.close, daemon=True)

    leaving.start()
    leaving.join(ANSWER_SECONDS + 30)

    assert not leaving.is_alive()


@pytest.fixture
def publish(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Return a function that sends a task from this process."""
    from tests.kafka.tasks import app, record

    monkeypatch.setattr(app.conf, "broker_write_url", f"{KAFKA_SCHEME}://{cluster.address}")
    # No connection to the cluster of an earlier test.
    monkeypatch.setattr(app, "_pool", None)
    monkeypatch.setattr(app.amqp, "_producer_pool", None)
    return lambda name: record.delay(name)


def test_publishing_to_a_killed_kafka_raises_an_error(
    cluster: Cluster, publish: Callable[[str], object]
) -> None:
    """Kombu's own transport reports success."""
    publish("accepted")
    cluster.kill()

    with pytest.raises((OperationalError, OSError)):
        publish("lost")


def test_message_without_an_acknowledgement_is_not_published_twice(
    publish: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka may have stored the first one while the caller waits."""
    topics: list[str] = []

    def write(config: object, topic: str, text: bytes) -> None:
        topics.append(topic)
        raise NoBrokersAvailable("no answer to a message")

    monkeypatch.setattr("ops.brokers.kafka.transport.write", write)

    with pytest.raises(OperationalError):
        publish("unanswered")

    assert topics == [TOPIC]
