"""The transport: what Kombu and Celery use."""

import logging
import threading
import time
from collections import OrderedDict, deque
from contextlib import suppress
from functools import cached_property
from queue import Empty
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from django.conf import settings
from kombu.exceptions import OperationalError
from kombu.transport import confluentkafka, virtual
from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import dumps, loads

from ops.brokers.kafka.clients import (
    ANSWER_SECONDS,
    WAIT_SECONDS,
    NoBrokersAvailable,
    answer,
    kept,
    write,
)
from ops.brokers.kafka.progress import Positions

logger = logging.getLogger(__name__)

# Kafka accepts no position while it rebalances partitions, and no message while it is down; both
# are retried after this.
RETRY_SECONDS = 1
# At most this many workers run at a time: each partition is read by one.
PARTITIONS = 8
# After this, Kafka gives the partitions of a vanished worker to others.
SESSION_SECONDS = 10
# Kafka treats a worker that requests no message for this long as hung. A busy worker requests none,
# so this is longer than two tasks may take.
HUNG_SECONDS = max(300, 3 * settings.CELERY_TASK_TIME_LIMIT)
# A topic that was created, or lost and recreated, is detected after this; the default is 5 minutes.
SEEN_SECONDS = 5


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
        """Write it again if requested; else it is done.

        Its place is free at once, and nothing here can fail: Celery would swallow that. Until it is
        written it is not done, so it outlives this worker.
        """
        message = self._delivered.get(delivery_tag)
        if not requeue or message is None:
            self.ack(delivery_tag)
            return
        self.channel.rejected.append(message)
        super().ack(delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Leave it where it is: what is not committed is given out again."""


class Channel(confluentkafka.Channel):
    """Writes and reads topics, one a queue."""

    QoS = QoS  # type: ignore[assignment]  # next to Kombu's own for Kafka, not below it
    Message = Message  # type: ignore[assignment]

    def __init__(self, *args: Any, **options: Any) -> None:
        """Begin with nothing fetched."""
        self.positions = Positions()
        self.committing = threading.Lock()
        self.committed_at = 0.0
        # To be written again, by the thread that fetches.
        self.rejected: deque[Message] = deque()
        self.refused = 0.0
        super().__init__(*args, **options)

    @cached_property
    def common_config(self) -> dict[str, Any]:
        """Return the configuration of all clients; errors are raised, not logged."""
        server = self.connection.client
        address = f"{server.hostname}:{server.port or confluentkafka.DEFAULT_PORT}"
        return {"bootstrap.servers": address, "log_level": 2}

    def _open(self) -> AdminClient:
        """List Kafka's topics: the only way to check whether it is up."""
        client = kept.get(AdminClient, self.common_config)
        answer(client.list_topics)
        return client

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        """Write a message, and return when Kafka has it.

        Raises:
            OperationalError: it has not, or has not said so; not a lost connection, which would be
                tried again while the caller waits, and could write it twice.
        """
        try:
            self.write(self.sanitize_queue_name(queue), message)
        except NoBrokersAvailable as error:
            # The next one checks first that the topic exists.
            self.connection.client.declared_entities.clear()
            raise OperationalError(f"Kafka has not accepted a message: {error}") from error

    def write(self, topic: str, message: dict[str, Any]) -> None:
        """Write a message.

        Raises:
            NoBrokersAvailable: Kafka has not said that it has it.
        """
        # Without its former place, if it is written again.
        text = dumps({name: part for name, part in message.items() if name != "place"})
        write(self.common_config, topic, str_to_bytes(text))

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
                    "max.poll.interval.ms": HUNG_SECONDS * 1000,
                    "topic.metadata.refresh.interval.ms": SEEN_SECONDS * 1000,
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
        if fault := message.error():
            logger.warning("Kafka: %s", fault)
            raise Empty
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        # They are only None for a message that is to be sent.
        if topic is None or partition is None or offset is None:
            raise Empty
        self.positions.fetched(topic, partition, offset)
        try:
            return self.payload(message.value(), (topic, partition, offset))
        except Exception as error:
            # Whatever it contains: it would come again for ever, and nothing after it.
            words = "Kafka: skipped an invalid message in topic %s, partition %s, offset %s: %s"
            logger.error(words, topic, partition, offset, type(error).__name__)
            self.done(topic, partition, offset)
            raise Empty from error

    def payload(self, value: Any, place: tuple[str, int, int]) -> dict[str, Any]:
        """Return a message's parts with a tag of their own; what is written again had one.

        Raises:
            TypeError: its headers are not a task's.
            Exception: it has no such parts.
        """
        payload: dict[str, Any] = {**loads(value), "place": place}
        payload["properties"]["delivery_tag"] = self._next_delivery_tag()
        headers = self.Message(payload, channel=self).headers
        # Celery itself refuses a message without a task's name.
        if "task" in headers and not all(isinstance(headers[name], str) for name in ("id", "task")):
            raise TypeError("its headers are not a task's")
        return payload

    def done(self, topic: str, partition: int, offset: int) -> None:
        """Note that the message at an offset of a partition is done, and commit the positions."""
        self.positions.done(topic, partition, offset)
        self.commit()

    def commit(self) -> None:
        """Commit all positions, without waiting. What is not committed is delivered again."""
        # One at a time: the position that is committed last counts.
        with self.committing:
            self.committed_at = time.monotonic()
            for topic, consumer in list(self._kafka_consumers.items()):
                self.commit_topic(topic, consumer)

    def commit_topic(self, topic: str, consumer: Consumer, *, wait: bool = False) -> None:
        """Commit one topic's positions."""
        owed = self.positions.uncommitted(topic)
        if owed:
            # Refused, or closed meanwhile.
            with suppress(KafkaException, RuntimeError):
                offsets = [TopicPartition(topic, partition, end) for partition, end in owed]
                if wait:
                    consumer.commit(offsets=offsets, asynchronous=False)
                else:
                    consumer.commit(offsets=offsets, asynchronous=True)

    def committed(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """Note the positions that Kafka has stored."""
        for offset in offsets:
            if not (error or offset.error):
                self.positions.confirmed(offset.topic, offset.partition, offset.offset)

    def drain_events(self, timeout: float | None = None, callback: Any = None) -> Any:
        """Deliver a message, and repeat what Kafka did not accept.

        Args:
            timeout: seconds to wait for a message.
            callback: called with it.
        """
        now = time.monotonic()
        if self.positions.owed and now - self.committed_at > RETRY_SECONDS:
            self.commit()
        if self.rejected and now - self.refused > RETRY_SECONDS:
            self.write_rejected()
        return super().drain_events(timeout=timeout, callback=callback)

    def write_rejected(self) -> None:
        """Write again, at the end, what was rejected; then it is done where it was."""
        while self.rejected:
            message = self.rejected[0]
            topic = message.place[0]
            try:
                self.write(topic, {**message.serializable(), "redelivered": True})
            except NoBrokersAvailable as error:
                logger.warning("Kafka: a task to retry is not written: %s", error)
                self.refused = time.monotonic()
                return
            self.rejected.popleft()
            self.done(*message.place)

    def forget(self, consumer: Consumer, offsets: list[TopicPartition]) -> None:
        """Drop partitions that another worker reads now."""
        for offset in offsets:
            self.positions.forget(offset.topic, offset.partition)

    def _new_queue(self, queue: str, **options: Any) -> None:
        """Create the topic, unless it exists."""
        topic = self.sanitize_queue_name(queue)
        if self._has_queue(topic):
            return
        (made,) = self.client.create_topics(
            [NewTopic(topic, PARTITIONS)], request_timeout=ANSWER_SECONDS
        ).values()
        try:
            made.result(ANSWER_SECONDS)
        except TimeoutError as error:
            raise NoBrokersAvailable(f"topic {topic} was not created in time") from error
        except KafkaException as error:
            # Another process was quicker.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise NoBrokersAvailable(error) from error

    def _has_queue(self, queue: str, **options: Any) -> bool:
        """Return whether there is a topic."""
        return self.sanitize_queue_name(queue) in answer(self.client.list_topics).topics

    def _size(self, queue: str) -> int:
        """Return how many messages are not done, whichever worker has them."""
        topic = self.sanitize_queue_name(queue)
        known = answer(self.client.list_topics).topics.get(topic)
        # Made a moment ago.
        if known is None:
            return 0
        reader = kept.get(Consumer, self.group(topic))
        offsets = [TopicPartition(topic, number) for number in known.partitions]
        size = 0
        for place in answer(reader.committed, offsets):
            first, end = answer(reader.get_watermark_offsets, place)
            # Below the first where Kafka has removed old ones, or nothing was ever done.
            size += end - max(first, place.offset)
        return size

    def close(self) -> None:
        """Leave, and wait no longer for Kafka's answer than for any other."""
        with self.committing:
            consumers, self._kafka_consumers = self._kafka_consumers, {}
        super().close()
        if consumers:
            # A client has no limit of its own for it.
            leaving = threading.Thread(target=self.leave, args=(consumers,), daemon=True)
            leaving.start()
            leaving.join(ANSWER_SECONDS)

    def leave(self, consumers: dict[str, Consumer]) -> None:
        """Say how far all is done before the partitions are given to others."""
        for topic, consumer in consumers.items():
            self.commit_topic(topic, consumer, wait=True)
            consumer.close()


class Transport(confluentkafka.Transport):
    """Waits for messages a moment at a time."""

    Channel = Channel
    polling_interval = WAIT_SECONDS
    # Also for a worker that starts while Kafka does.
    connection_errors: tuple[type[Exception], ...] = (  # type: ignore[assignment]  # one more
        *confluentkafka.Transport.connection_errors,
        NoBrokersAvailable,
    )

    def drain_events(  # type: ignore[override]  # its two parents differ themselves
        self, connection: Any, timeout: float | None = None
    ) -> None:
        """Deliver a message.

        Args:
            connection: the one that is polled.
            timeout: seconds to wait; never more than WAIT_SECONDS.

        Raises:
            TimeoutError: no message came.
        """
        super().drain_events(connection, timeout=min(timeout or WAIT_SECONDS, WAIT_SECONDS))
