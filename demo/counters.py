"""Numbers that all servers count up together: in Redis where there is one, else in the database."""

from functools import cache

import redis
from django.conf import settings

from demo.models import Counter
from ops.redis_client import AskOnce
from ops.settings.backing import ANSWER_SECONDS, CONNECT_SECONDS


class CounterUnavailableError(Exception):
    """The counter does not answer. Whether a count arrived is unknown."""


def increment(name: str) -> int:
    """Add one and return the new value, which no other caller gets.

    Raises:
        CounterUnavailableError: Redis does not answer, or refuses.
    """
    if not settings.COUNTER_REDIS_URL:
        return Counter.increment(name)
    try:
        return int(client(settings.COUNTER_REDIS_URL).incr(key(name)))
    except redis.RedisError as error:
        raise CounterUnavailableError(str(error)) from error


def read(name: str) -> int:
    """Return the value; 0 for a counter that was never counted up.

    Raises:
        CounterUnavailableError: Redis does not answer, or refuses.
    """
    if not settings.COUNTER_REDIS_URL:
        return Counter.read(name)
    try:
        return int(client(settings.COUNTER_REDIS_URL).get(key(name)) or 0)
    except redis.RedisError as error:
        raise CounterUnavailableError(str(error)) from error


def key(name: str) -> str:
    """Return the key of a counter, which never expires."""
    return f"counter:{name}"


@cache
def client(url: str) -> redis.Redis:
    """Return this process's client; it keeps its connections."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        retry=AskOnce(),
    )
