"""S3, with a limit on each wait."""

from typing import Any

from botocore.config import Config
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.exceptions import HTTPClientError
from django.core.files.base import File
from storages.backends.s3 import S3Storage

from ops.breaker import STORAGE

# It cannot be reached, or gives no answer.
CONNECTION_ERRORS = (NoConnectionError, HTTPClientError)

# Two attempts of these and a pause are shorter than uWSGI's harakiri.
CONNECT_SECONDS = 2
READ_SECONDS = 5


class BucketStorage(S3Storage):
    """A bucket; a server that hangs does not hold a request up for long, nor all workers.

    While it is down, the methods below raise AwayError without a request.
    https://botocore.amazonaws.com/v1/documentation/api/latest/reference/config.html
    """

    client_config: Config

    def __init__(self, **options: Any) -> None:
        """Add the limits to what django-storages has made of the options."""
        super().__init__(**options)
        limits = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": 2},
        )
        self.client_config = self.client_config.merge(limits)

    def _open(self, name: str, mode: str = "rb") -> File:
        """Open a file."""
        with STORAGE.call(*CONNECTION_ERRORS):
            return super()._open(name, mode)

    def _save(self, name: str, content: File) -> str:
        """Store a file, and return its name."""
        with STORAGE.call(*CONNECTION_ERRORS):
            return str(super()._save(name, content))

    def delete(self, name: str) -> None:
        """Remove a file."""
        with STORAGE.call(*CONNECTION_ERRORS):
            super().delete(name)

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        with STORAGE.call(*CONNECTION_ERRORS):
            return bool(super().exists(name))
