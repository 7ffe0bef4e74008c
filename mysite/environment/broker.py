"""The message broker: Redis, RabbitMQ, or whatever CELERY_BROKER_URL names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from . import redis
from .fault import Fault
from .variable import SHARED, Value

if TYPE_CHECKING:
    from .loader import Environment

RABBITMQ: Final = "rabbitmq"
# What the stack's RabbitMQ is set up with (rabbitmq/start): the user, and what is its own there.
USER: Final = "mysite"
VIRTUAL_HOST: Final = "mysite"
PORT: Final = 5672

_NEEDED: Final = ("BROKER_HOST", "BROKER_PASSWORD")


def broker_url(environment: Environment) -> str:
    """Return the broker's address as Celery writes it; empty where none is named.

    Args:
        environment: the checked environment.
    """
    values = environment.values
    if values["CELERY_BROKER_URL"]:
        return str(values["CELERY_BROKER_URL"])
    if values["BROKER"] == RABBITMQ and values["BROKER_HOST"]:
        password = quote(str(values["BROKER_PASSWORD"]), safe="")
        return f"amqp://{USER}:{password}@{values['BROKER_HOST']}:{PORT}/{VIRTUAL_HOST}"
    return redis.redis_url(environment, redis.BROKER)


def faults(values: Mapping[str, Value], layer: str, broken: set[str]) -> list[Fault]:
    """Return what is wrong with how a broker that is not Redis is named."""
    if layer not in SHARED or values["CELERY_BROKER_URL"] or values["BROKER"] != RABBITMQ:
        return []
    return [
        Fault(name, f"it is not set, and BROKER={RABBITMQ} needs it", f"Set {name}.")
        for name in _NEEDED
        if not values[name] and name not in broken
    ]
