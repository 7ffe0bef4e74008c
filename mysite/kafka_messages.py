"""Messages in Kafka: Kombu's own transport, made to lose none.

Kombu's (5.7) takes a message that could not be written for sent, and with one acknowledgement
counts all as done that it has fetched: a killed worker's other jobs are lost. Here a message counts
as sent when Kafka has said so, and a partition's position is committed up to the first message that
is not done. So one may come twice, as with any broker.

https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.confluentkafka.html
https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from queue import Empty
from typing import Any

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic
from kombu.transport import TRANSPORT_ALIASES, confluentkafka, virtual
from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import dumps, loads

from mysite.environment import KAFKA_SCHEME

# Kafka refuses, or does not answer: tried again as any lost connection is.
NoBrokersAvailable = confluentkafka.NoBrokersAvailable

# Longest wait for Kafka's word that it has a message, or for an answer to a question.
ANSWER_SECONDS = 2
# Celery looks at its own affairs only between two waits for messages.
WAIT_SECONDS = 0.1
# Kafka takes no position while it gives partitions out anew; told again after this.
AGAIN_SECONDS = 1
# As many workers can work at a time: each partition is read by one.
PARTITIONS = 8
# A worker that is gone without a word is missed after this, and its partitions are others'.
SESSION_SECONDS = 10


class Kept:
    """The clients of Kafka of each process, never freed.

    A process that is forked has copies without their threads, and would hang if it freed them.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self.clients: dict[tuple[Any, ...], Any] = {}
        self.lock = threading.Lock()

    def get(self, make: Callable[[dict[str, Any]], Any], config: dict[str, Any]) -> Any:
        """Return this process's client of a kind, made at the first time."""
        key = (os.getpid(), make, *sorted(config.items()))
        with self.lock:
            if key not in self.clients:
                self.clients[key] = make(config)
            return self.clients[key]


kept = Kept()
os.register_at_fork(after_in_child=lambda: setattr(kept, "lock", threading.Lock()))


class Progress:
    """How far one partition is done: up to the first message that is not."""

    def __init__(self) -> None:
        """Begin with nothing fetched."""
        self.open: set[int] = set()
        self.next = 0

    def fetched(self, offset: int) -> None:
        """Note a message that a worker has now."""
        self.open.add(offset)
        self.next = max(self.next, offset + 1)

    def done(self, offset: int) -> int:
        """Note that it is done; return the position to commit."""
        self.open.discard(offset)
        return min(self.open, default=self.next)


class Message(virtual.Message):
    """A message that knows its place."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **options: Any) -> None:
        """Take it out of the payload."""
        self.place: tuple[str, int, int] = tuple(payload["place"])
        super().__init__(payload, channel=channel, **options)


class QoS(virtual.QoS):
    """What is fetched and not acknowledged."""

    _delivered: OrderedDict[str, Message]  # type: ignore[assignment]  # made later, says Kombu

    def ack(self, delivery_tag: str) -> None:
        """Commit as far as all is done."""
        message = self._delivered.get(delivery_tag)
        super().ack(delivery_tag)
        if message is not None:
            self.channel.done(*message.place)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Write it anew, at the end, if told; then it is done here."""
        if requeue:
            self.channel._restore(self._delivered[delivery_tag])
        self.ack(delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Leave it where it is: what is not committed is given out again."""


class Channel(confluentkafka.Channel):
    """Writes and reads topics, one a queue."""

    QoS = QoS  # type: ignore[assignment]  # next to Kombu's own for Kafka, not below it
    Message = Message  # type: ignore[assignment]

    def __init__(self, *args: Any, **options: Any) -> None:
        """Begin with nothing fetched."""
        self.progress: dict[tuple[str, int], Progress] = {}
        # Positions that Kafka has not confirmed.
        self.owed: dict[tuple[str, int], int] = {}
        self.told = 0.0
        super().__init__(*args, **options)

    @cached_property
    def common_config(self) -> dict[str, Any]:
        """Return what all clients are told; what goes wrong is raised, not written."""
        found: dict[str, Any] = {**confluentkafka.Channel.common_config.func(self), "log_level": 2}
        return found

    def _open(self) -> AdminClient:
        """Ask for Kafka's topics: there is no other way to see whether it is there."""
        client = kept.get(AdminClient, self.common_config)
        answer(client.list_topics)
        return client

    def _get_producer(self, queue: str) -> Producer:
        """Return the one that writes a message once, and to all servers that keep it."""
        timeout = {"message.timeout.ms": ANSWER_SECONDS * 1000}
        config = {**self.common_config, "enable.idempotence": True, "acks": "all", **timeout}
        return kept.get(Producer, config)

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        """Write a message, and return when Kafka has it.

        Raises:
            NoBrokersAvailable: it has not, or has not said so.
        """
        reports: list[KafkaError | None] = []
        producer = self._get_producer(queue)
        # Its former place, if it is written anew.
        text = dumps({name: part for name, part in message.items() if name != "place"})
        topic = self.sanitize_queue_name(queue)
        try:
            producer.produce(topic, str_to_bytes(text), on_delivery=lambda e, _: reports.append(e))
        except (BufferError, KafkaException) as error:
            raise NoBrokersAvailable(error) from error
        deadline = time.monotonic() + ANSWER_SECONDS + 1
        while not reports and time.monotonic() < deadline:
            producer.poll(WAIT_SECONDS)
        if not reports or reports[0] is not None:
            raise NoBrokersAvailable(reports[0] if reports else "no answer to a message")

    def _get_consumer(self, queue: str) -> Consumer:
        """Return the one that reads this queue."""
        topic = self.sanitize_queue_name(queue)
        if topic not in self._kafka_consumers:
            consumer = Consumer(
                {
                    **self.group(topic),
                    # A partition stays where it is when another worker comes or goes.
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": SESSION_SECONDS * 1000,
                    "on_commit": self.committed,
                }
            )
            consumer.subscribe([topic], on_revoke=self.forget, on_lost=self.forget)
            self._kafka_consumers[topic] = consumer
        return self._kafka_consumers[topic]

    def group(self, topic: str) -> dict[str, Any]:
        """Return what all readers of a topic have in common."""
        return {
            **self.common_config,
            "group.id": f"{topic}-consumer-group",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }

    def _get(self, queue: str, timeout: Any = None, **options: Any) -> dict[str, Any]:
        """Return the next message; Empty if there is none for a moment."""
        message = self._get_consumer(queue).poll(WAIT_SECONDS)
        if message is None:
            raise Empty
        if error := message.error():
            confluentkafka.logger.warning("Kafka: %s", error)
            raise Empty
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        # They are only None for a message that is to be sent.
        if topic is None or partition is None or offset is None:
            raise Empty
        self.progress.setdefault((topic, partition), Progress()).fetched(offset)
        return {**loads(message.value()), "place": (topic, partition, offset)}

    def done(self, topic: str, partition: int, offset: int) -> None:
        """Let it be committed how far all is done."""
        # Without it the partition is another's by now, who is given the message too.
        if progress := self.progress.get((topic, partition)):
            self.owed[topic, partition] = progress.done(offset)
            self.commit()

    def commit(self, *, wait: bool = False) -> None:
        """Tell Kafka how far all is done; what it is not told comes twice."""
        self.told = time.monotonic()
        for name, consumer in self._kafka_consumers.items():
            places = [TopicPartition(*key, end) for key, end in self.owed.items() if key[0] == name]
            if places:
                with suppress(KafkaException):
                    consumer.commit(offsets=places, asynchronous=not wait)

    def committed(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """Note what Kafka has taken."""
        for place in places:
            key = (place.topic, place.partition)
            if not (error or place.error) and self.owed.get(key) == place.offset:
                del self.owed[key]

    def drain_events(self, timeout: float | None = None, callback: Any = None) -> Any:
        """Deliver a message, and tell Kafka again what it did not take."""
        if self.owed and time.monotonic() - self.told > AGAIN_SECONDS:
            self.commit()
        return super().drain_events(timeout=timeout, callback=callback)

    def forget(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Leave partitions to the one whose they are now."""
        for place in places:
            self.progress.pop((place.topic, place.partition), None)
            self.owed.pop((place.topic, place.partition), None)

    def _new_queue(self, queue: str, **options: Any) -> None:
        """Make the topic, unless it is there."""
        topic = self.sanitize_queue_name(queue)
        if self._has_queue(topic):
            return
        (made,) = self.client.create_topics([NewTopic(topic, PARTITIONS)]).values()
        try:
            made.result(ANSWER_SECONDS)
        except KafkaException as error:
            # Another process was quicker.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise NoBrokersAvailable(error) from error

    def _has_queue(self, queue: str, **options: Any) -> bool:
        """Tell whether there is a topic."""
        return self.sanitize_queue_name(queue) in answer(self.client.list_topics).topics

    def _size(self, queue: str) -> int:
        """Return how many messages are not done, whoever has them."""
        topic = self.sanitize_queue_name(queue)
        partitions = answer(self.client.list_topics).topics[topic].partitions
        reader = kept.get(Consumer, self.group(topic))
        places = [TopicPartition(topic, number) for number in partitions]
        size = 0
        for place in answer(reader.committed, places):
            first, end = answer(reader.get_watermark_offsets, place)
            size += end - (first if place.offset == OFFSET_INVALID else place.offset)
        return size

    def close(self) -> None:
        """Say how far all is done before the partitions are given to others."""
        self.commit(wait=True)
        super().close()


class Transport(confluentkafka.Transport):
    """Waits for messages a moment at a time."""

    Channel = Channel
    polling_interval = WAIT_SECONDS

    def drain_events(  # type: ignore[override]  # its two parents differ themselves
        self, connection: Any, timeout: float | None = None
    ) -> None:
        """Deliver a message, or raise TimeoutError soon."""
        super().drain_events(connection, timeout=min(timeout or WAIT_SECONDS, WAIT_SECONDS))


def answer(ask: Callable[..., Any], *arguments: Any) -> Any:
    """Return what Kafka answers.

    Raises:
        NoBrokersAvailable: it does not answer soon.
    """
    try:
        return ask(*arguments, timeout=ANSWER_SECONDS)
    except KafkaException as error:
        raise NoBrokersAvailable(error) from error


def prepare() -> None:
    """Let Celery find the transport."""
    TRANSPORT_ALIASES[KAFKA_SCHEME] = f"{__name__}:{Transport.__name__}"
