"""Messages in Kafka, on librdkafka's mock cluster, which speaks Kafka's protocol."""

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
from tests.kafka.cluster import handle, librdkafka
from tests.kafka.harness import Cluster
from tests.waiting import eventually

TOPIC = "jobs"
# librdkafka's, for tests of what follows: RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER.
OUT_OF_ORDER = 45


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with a topic for the jobs."""
    found = Cluster(tmp_path, TOPIC)
    yield found
    found.kill()


@pytest.fixture
def channel(cluster: Cluster) -> Iterator[Channel]:
    """A channel to the cluster, as a worker has one."""
    prepare()
    with Connection(f"{KAFKA_SCHEME}://{cluster.address}") as connection:
        channel = connection.default_channel
        channel.queue_declare(TOPIC)
        yield channel


def send(channel: Channel, body: str) -> None:
    """Send a message."""
    message = channel.prepare_message(body, content_type="text/plain", content_encoding="utf-8")
    channel.basic_publish(message, exchange="", routing_key=TOPIC)


def break_down(producer: Producer) -> None:
    """Let a producer find that it cannot go on, as librdkafka's own tests do."""
    assert librdkafka().rd_kafka_test_fatal_error(handle(producer), OUT_OF_ORDER, b"a test") == 0


def turn(channel: Channel) -> bool:
    """Do what a worker does again and again; true, for conditions."""
    with suppress(Empty):
        channel.drain_events()
    return True


def receive(channel: Channel) -> Callable[[], Any]:
    """Return what waits for the next message and returns it."""
    messages: list[Any] = []
    channel.basic_consume(TOPIC, no_ack=False, callback=messages.append, consumer_tag="tag")

    def next_one() -> Any:
        eventually(lambda: turn(channel) and messages, seconds=60, what="a message")
        return messages.pop(0)

    return next_one


def test_a_message_that_is_written_anew_is_another_one(channel: Channel) -> None:
    """Else it would be the copy that is done, and what precedes it would never be."""
    received = receive(channel)
    send(channel, "again")
    first = received()

    first.reject(requeue=True)
    copy = received()

    assert copy.body == first.body
    assert copy.delivery_tag != first.delivery_tag and copy.place != first.place
    copy.ack()
    eventually(lambda: turn(channel) and channel._size(TOPIC) == 0, seconds=30, what="done")


def test_a_message_that_kafka_does_not_take_back_is_written_later(
    cluster: Cluster, channel: Channel
) -> None:
    """Also where every place of the worker is taken."""
    received = receive(channel)
    channel.basic_qos(prefetch_count=2)
    for body in "ab":
        send(channel, body)
    messages = [received(), received()]
    cluster.freeze()

    for message in messages:
        message.reject(requeue=True)
    eventually(lambda: turn(channel) and channel.refused, seconds=30, what="it is refused")
    assert len(channel.rejected) == 2
    assert channel.qos.can_consume()
    cluster.thaw()

    # One that was taken without an answer comes twice.
    copies: set[bytes] = set()
    while copies != {message.body for message in messages}:
        copy = received()
        copies.add(copy.body)
        copy.ack()


def test_a_producer_that_cannot_go_on_is_recreated(cluster: Cluster, channel: Channel) -> None:
    send(channel, "taken")
    break_down(
        next(
            client
            for key, client in clients.kept.clients.items()
            if key[1] is Producer and ("bootstrap.servers", cluster.address) in key
        )
    )

    with pytest.raises(OperationalError, match="_FATAL"):
        send(channel, "refused")
    send(channel, "taken, too")

    assert channel._size(TOPIC) == 2


def test_a_goodbye_to_a_frozen_kafka_has_an_end(cluster: Cluster, channel: Channel) -> None:
    """The client itself waits for an answer as long as there is none."""
    received = receive(channel)
    send(channel, "done")
    message = received()
    cluster.freeze()
    message.ack()
    leaving = threading.Thread(target=channel.close, daemon=True)

    leaving.start()
    leaving.join(ANSWER_SECONDS + 30)

    assert not leaving.is_alive()


@pytest.fixture
def publish(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Return what sends a job from this process."""
    from tests.kafka.jobs import app, note

    monkeypatch.setattr(app.conf, "broker_write_url", f"{KAFKA_SCHEME}://{cluster.address}")
    # No connection to an earlier test's cluster.
    monkeypatch.setattr(app, "_pool", None)
    monkeypatch.setattr(app.amqp, "_producer_pool", None)
    return lambda name: note.delay(name)


def test_a_message_that_kafka_did_not_take_is_not_sent(
    cluster: Cluster, publish: Callable[[str], object]
) -> None:
    """Kombu's own transport says that it is."""
    publish("taken")
    cluster.kill()

    with pytest.raises((OperationalError, OSError)):
        publish("lost")


def test_a_message_without_an_answer_is_not_written_twice(
    publish: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the caller waits, and Kafka may have the first one."""
    tried: list[str] = []

    def write(config: object, topic: str, text: bytes) -> None:
        tried.append(topic)
        raise NoBrokersAvailable("no answer to a message")

    monkeypatch.setattr("ops.brokers.kafka.transport.write", write)

    with pytest.raises(OperationalError):
        publish("unanswered")

    assert tried == [TOPIC]
