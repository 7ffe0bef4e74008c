"""Messages in Kafka, on librdkafka's own cluster, which speaks Kafka's protocol.

What needs a whole worker is in test_kafka_workers.py.
"""

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from pathlib import Path
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from kombu import Connection
from kombu.exceptions import OperationalError

from mysite.environment import KAFKA_SCHEME
from mysite.kafka_messages import clients, prepare
from mysite.kafka_messages.clients import ANSWER_SECONDS, NoBrokersAvailable
from mysite.kafka_messages.progress import Positions, Progress
from mysite.kafka_messages.transport import HUNG_SECONDS, PARTITIONS, Channel, Transport
from mysite.settings.backing import JOB_HARD_SECONDS
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
    lines = Path("/proc/self/maps").read_text().splitlines()
    library = ctypes.CDLL(next(line.split()[-1] for line in lines if "librdkafka" in line))
    # Behind what every object of Python begins with.
    handle = ctypes.c_void_p.from_address(id(producer) + object.__basicsize__)
    assert library.rd_kafka_test_fatal_error(handle, OUT_OF_ORDER, b"a test") == 0


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
    progress = Progress()
    for offset in range(3):
        progress.fetched(offset)

    assert [progress.done(offset) for offset in order] == committed


def test_a_log_that_kafka_has_lost_counts_from_its_new_beginning() -> None:
    progress = Progress()
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


def test_a_message_that_is_written_anew_is_another_one(channel: Channel) -> None:
    """Else it would be the copy that is done, and what stands before it would never be."""
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


def test_a_producer_that_cannot_go_on_is_made_anew(cluster: Cluster, channel: Channel) -> None:
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


class Admin:
    """Makes topics as it is told to; the cluster makes none for an administrator."""

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
    monkeypatch.setattr("mysite.kafka_messages.transport.ANSWER_SECONDS", 0.1)
    prepare()
    channel = Connection(f"{KAFKA_SCHEME}://none:1").default_channel

    with pytest.raises(NoBrokersAvailable) if raised else nullcontext():
        channel._new_queue("made@here")

    assert admin.asked == [("madehere", PARTITIONS)]
    # A moment later Kafka may not know it yet.
    assert channel._size("made@here") == 0


def test_a_kafka_that_is_not_ready_is_a_lost_connection() -> None:
    """Else a worker that starts beside it ends."""
    assert issubclass(NoBrokersAvailable, Transport.connection_errors)
    assert issubclass(NoBrokersAvailable, Transport.recoverable_connection_errors)


def test_a_worker_whose_places_are_all_taken_is_not_taken_for_hung() -> None:
    assert HUNG_SECONDS > 2 * JOB_HARD_SECONDS


@pytest.mark.parametrize(("host", "server"), [("kafka", "kafka:9092"), ("kafka:19", "kafka:19")])
def test_a_port_need_not_be_named(host: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "_open", lambda self: None)
    prepare()

    channel = Connection(f"{KAFKA_SCHEME}://{host}").default_channel

    assert isinstance(channel, Channel)
    assert channel.common_config["bootstrap.servers"] == server


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
    """While somebody waits, and Kafka may have the first one."""
    tried: list[str] = []

    def write(config: object, topic: str, text: bytes) -> None:
        tried.append(topic)
        raise NoBrokersAvailable("no answer to a message")

    monkeypatch.setattr("mysite.kafka_messages.transport.write", write)

    with pytest.raises(OperationalError):
        publish("unanswered")

    assert tried == [TOPIC]
