"""A RabbitMQ that stops answering does not block a client."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from struct import pack, unpack
from typing import Any

import pytest
from kombu import Connection

from ops import environment
from ops.brokers import rabbitmq as rabbitmq_messages
from ops.settings.backing import broker_settings
from tests.tree import ROOT
from tests.unit.test_consistency_backing import TEST_LAYER
from tests.waiting import eventually

# Methods of AMQP 0-9-1, as class and number.
START, START_OK, TUNE, TUNE_OK, OPEN, OPEN_OK = (
    (10, number) for number in (10, 11, 30, 31, 40, 41)
)
CHANNEL_OPEN, CHANNEL_OPEN_OK = (20, 10), (20, 11)
# The response to each method.
ANSWERS = {
    START_OK: (TUNE, pack(">HIH", 2047, 131072, 0)),
    OPEN: (OPEN_OK, b"\0"),
    CHANNEL_OPEN: (CHANNEL_OPEN_OK, pack(">I", 0)),
}


def frame(channel: int, method: tuple[int, int], arguments: bytes) -> bytes:
    """Return the frame of one method."""
    payload = pack(">HH", *method) + arguments
    return pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


def open_channels(client: socket.socket) -> None:
    """Open connections and channels, and answer nothing else."""
    stream = client.makefile("rb")
    stream.read(8)
    client.sendall(
        frame(0, START, b"\0\x09" + pack(">I", 0) + pack(">I5sI5s", 5, b"PLAIN", 5, b"en_US"))
    )
    while header := stream.read(7):
        _, channel, size = unpack(">BHI", header)
        content = stream.read(size + 1)
        method = unpack(">HH", content[:4])
        if method in ANSWERS:
            client.sendall(frame(channel, *ANSWERS[method]))


@pytest.fixture
def silent() -> Iterator[int]:
    """Return the port of a RabbitMQ that accepts logins and then answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                client, _ = listening.accept()
                with client, suppress(ConnectionError):
                    open_channels(client)

        def run() -> None:
            with suppress(OSError):
                serve()

        threading.Thread(target=run, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def test_rabbitmq_request_without_an_answer_times_out(silent: int) -> None:
    environ = {**TEST_LAYER, "CELERY_BROKER_URL": f"amqp://someone:x@127.0.0.1:{silent}/mysite"}
    url, options = broker_settings(environment.load(environ), ROOT)
    rabbitmq_messages.prepare()
    ended: list[str] = []

    def opened() -> tuple[Connection, Any]:
        """Open connection and channel; on a busy machine that may time out too."""
        connection = Connection(url, transport_options=options)
        try:
            return connection, connection.channel()
        except OSError:
            # The fake server handles one connection at a time.
            connection.collect()
            raise

    def request_queue() -> None:
        connection, channel = eventually(opened, seconds=30, what="the channel is open")
        with suppress(TimeoutError):
            ended.append("opened")
            channel.queue_declare("celery", passive=True)
            ended.append("answered")
        with suppress(TimeoutError):
            channel.exchange_declare("celery", "topic")
            ended.append("answered")
        connection.close()
        ended.append("closed")

    requesting = threading.Thread(target=request_queue, daemon=True)
    requesting.start()
    requesting.join(60)

    assert ended == ["opened", "closed"]
