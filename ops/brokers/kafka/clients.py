"""Kafka's clients: one of each kind a process, with a time limit on every wait."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from kombu.transport import confluentkafka

# Kafka refuses, or does not answer: tried again as any lost connection is.
NoBrokersAvailable = confluentkafka.NoBrokersAvailable

# Longest wait for Kafka's word that it has a message, or for an answer to a question.
ANSWER_SECONDS = 2
# Celery handles its own events only between two waits for messages.
WAIT_SECONDS = 0.1


class Kept:
    """The clients of Kafka of each process, not freed while they are of use.

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

    def drop(self, client: Any) -> None:
        """Create this one again, the next time."""
        with self.lock:
            self.clients = {key: kept for key, kept in self.clients.items() if kept is not client}


kept = Kept()
os.register_at_fork(after_in_child=lambda: setattr(kept, "lock", threading.Lock()))


def answer(ask: Callable[..., Any], *arguments: Any) -> Any:
    """Return what Kafka answers.

    Raises:
        NoBrokersAvailable: it does not answer soon.
    """
    try:
        return ask(*arguments, timeout=ANSWER_SECONDS)
    except KafkaException as error:
        raise NoBrokersAvailable(error) from error


def write(config: dict[str, Any], topic: str, text: bytes) -> None:
    """Write a message once, to all servers that keep it, and return when Kafka has it.

    Raises:
        NoBrokersAvailable: it has not, or has not said so.
    """
    timeout = {"message.timeout.ms": ANSWER_SECONDS * 1000}
    producer = kept.get(Producer, {**config, "enable.idempotence": True, "acks": "all", **timeout})
    reports: list[KafkaError | None] = []
    try:
        producer.produce(topic, text, on_delivery=lambda error, _: reports.append(error))
    except BufferError as error:
        raise NoBrokersAvailable(error) from error
    except KafkaException as error:
        reports.append(error.args[0])
    deadline = time.monotonic() + ANSWER_SECONDS + 1
    while not reports and time.monotonic() < deadline:
        producer.poll(WAIT_SECONDS)
    if not reports:
        raise NoBrokersAvailable("no answer to a message")
    if fault := reports[0]:
        # After a fatal error the producer writes nothing more. Its refusals have this code,
        # without being fatal themselves.
        if fault.fatal() or fault.code() == KafkaError._FATAL:
            kept.drop(producer)
        raise NoBrokersAvailable(fault)
