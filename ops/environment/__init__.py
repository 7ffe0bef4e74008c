"""The environment's contract: which variables the project reads, checked and typed.

contract/ declares them; settings read them through `load()`; `./manage.py env` checks them.
"""

from .broker import (
    KAFKA_SCHEME,  # remove_kafka
    broker_url,
)
from .check import faults
from .database import (
    MIGRATION_USER,
    database_settings,
    migration_login,
    without_time_limits,
)
from .loader import ignored_layer, layer_of, load, read_dotenv
from .redis import BROKER, CACHE, COUNTER, redis_url
from .typed import Environment

__all__ = [
    "BROKER",
    "CACHE",
    "COUNTER",
    "KAFKA_SCHEME",  # remove_kafka
    "MIGRATION_USER",
    "Environment",
    "broker_url",
    "database_settings",
    "faults",
    "ignored_layer",
    "layer_of",
    "load",
    "migration_login",
    "read_dotenv",
    "redis_url",
    "without_time_limits",
]
