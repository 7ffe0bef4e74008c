"""The caches: quick to give up on a Redis that is down, exact in the database."""

from typing import Any

from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.redis import RedisCache
from django.db import connections, router, transaction

from ops.redis_client import AskOnce


class QuickRedisCache(RedisCache):
    """Redis without retries, and without requests while it is down."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        """Take the client's retries away."""
        params.setdefault("OPTIONS", {})["retry"] = AskOnce()
        super().__init__(server, params)


class ExactDatabaseCache(DatabaseCache):
    """A table, in which several processes can count at once.

    Django's own reads a number and then writes it, so that two at once count as one.
    """

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Add to a number, holding its row until it is written.

        https://docs.djangoproject.com/en/5.2/topics/cache/#cache-versioning

        Args:
            key: the number's.
            delta: what is added.
            version: the key's version; None for the cache's own.

        Raises:
            ValueError: there is no such key.
        """
        database = router.db_for_write(self.cache_model_class)
        connection = connections[database]
        with transaction.atomic(using=database):
            # SQLite has taken the whole file's lock already (transaction_mode IMMEDIATE).
            if connection.features.has_select_for_update:
                made = self.make_and_validate_key(key, version=version)
                column = connection.ops.quote_name("cache_key")
                with connection.cursor() as cursor:
                    cursor.execute(
                        f"SELECT 1 FROM {connection.ops.quote_name(self._table)} "  # noqa: S608
                        f"WHERE {column} = %s FOR UPDATE",
                        [made],
                    )
            return int(super().incr(key, delta, version=version))
