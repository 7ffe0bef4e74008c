"""What cache and counter have in common as clients of Redis."""

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.breaker import REDIS, AwayError

# Refusals are answers.
CONNECTION_ERRORS = (redis.ConnectionError, redis.TimeoutError, OSError)


class NotAskedError(redis.ConnectionError):
    """Redis is known to be away."""


class AskOnce(Retry):
    """Not a second time: that would double the wait, and a count whose answer was lost may count.

    The client connects and sends every command through its retries, so the breaker is here.
    """

    def __init__(self) -> None:
        """Allow no second try."""
        super().__init__(NoBackoff(), 0)

    def call_with_retry(self, *args: Any, **options: Any) -> Any:
        """Connect or send a command.

        Raises:
            NotAskedError: Redis is down; no request was made.
        """
        try:
            with REDIS.call(*CONNECTION_ERRORS, but=redis.AuthenticationError):
                return super().call_with_retry(*args, **options)
        except AwayError as error:
            raise NotAskedError(str(error)) from None
