"""The message broker: Redis, or what BROKER or CELERY_BROKER_URL names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec  # remove_kafka
from typing import TYPE_CHECKING, Final
from urllib.parse import quote  # remove_rabbitmq

from . import redis
from .fault import Fault
from .variable import SHARED, Value

if TYPE_CHECKING:
    from .typed import Environment

REDIS: Final = "redis"
# remove_rabbitmq: begin
RABBITMQ: Final = "rabbitmq"
# What the stack's RabbitMQ is set up with (variants/rabbitmq/start): the user and its virtual host.
USER: Final = "mysite"
VIRTUAL_HOST: Final = "mysite"
# remove_rabbitmq: end
# remove_other_broker: begin
PORTS: Final = {
    "rabbitmq": 5672,  # remove_rabbitmq
    "kafka": 9092,  # remove_kafka
}
# remove_other_broker: end
# As Celery calls it.  # remove_kafka
KAFKA_SCHEME: Final = "confluentkafka"  # remove_kafka

# What a broker needs besides its name, and what to do where it is missing.
# remove_other_broker: begin
_HOST: Final = {"BROKER_HOST": "Set BROKER_HOST; docker compose's own is BROKER_HOST=broker."}
# remove_other_broker: end
NEEDED: Final[Mapping[str, Mapping[str, str]]] = {
    "rabbitmq": {**_HOST, "BROKER_PASSWORD": "Set BROKER_PASSWORD."},  # remove_rabbitmq
    "kafka": _HOST,  # remove_kafka
}
# The variables that say which one it is.
_NAMES: Final = frozenset({"BROKER", "CELERY_BROKER_URL"})


def broker_url(environment: Environment) -> str:
    """Return the broker's address as Celery writes it; empty where none is named.

    Args:
        environment: the checked environment.
    """
    values = environment.values
    return _other(values) or redis.redis_url(environment, redis.BROKER)


def _other(values: Mapping[str, Value]) -> str:
    """Return the address of a broker that is named apart; empty if Redis is to be it."""
    # remove_other_broker: begin
    broker, host = str(values["BROKER"]), values["BROKER_HOST"]
    if values["CELERY_BROKER_URL"] or not host:
        return str(values["CELERY_BROKER_URL"])
    # remove_rabbitmq: begin
    if broker == RABBITMQ:
        password = quote(str(values["BROKER_PASSWORD"]), safe="")
        return f"amqp://{USER}:{password}@{host}:{PORTS[broker]}/{VIRTUAL_HOST}"
    # remove_rabbitmq: end
    # remove_kafka: begin
    if broker == "kafka":
        return f"{KAFKA_SCHEME}://{host}:{PORTS[broker]}"
    # remove_kafka: end
    # remove_other_broker: end
    return str(values["CELERY_BROKER_URL"])


def faults(values: Mapping[str, Value], layer: str, broken: set[str]) -> list[Fault]:
    """Return what is wrong with how a broker that is not Redis is named."""
    if broken & _NAMES:
        return []
    result: list[Fault] = []
    # remove_kafka: begin
    url = _other(values)
    # Several are separated like this. A login says nothing of how it is to be sent.
    if any("@" in part for part in url.split(";") if part.strip().startswith(KAFKA_SCHEME)):
        problem = (
            "it has a user name or password, and the Kafka client uses neither password nor TLS"
        )
        hint = "Write confluentkafka://host:9092, and keep the broker in a private network."
        result.append(Fault("CELERY_BROKER_URL", problem, hint))
    # remove_kafka: end
    broker = str(values["BROKER"])
    if layer in SHARED and not values["CELERY_BROKER_URL"]:
        result += [
            Fault(name, f"it is not set, and BROKER={broker} needs it", hint)
            for name, hint in NEEDED.get(broker, {}).items()
            if not values[name] and name not in broken
        ]
    return result


def client_faults(values: Mapping[str, Value], broken: set[str]) -> list[Fault]:
    """Return a fault where the broker's client is not among the packages installed here."""
    # remove_kafka: begin
    kafka = not broken & _NAMES and _other(values).startswith(KAFKA_SCHEME)
    if kafka and find_spec("confluent_kafka") is None:
        problem = "Kafka is the message broker, and its client is not installed here"
        hint = "Set BROKER=kafka and build again: docker compose build."
        return [Fault("BROKER", problem, hint)]
    # remove_kafka: end
    return []
