"""S3, with a limit on each wait."""

from typing import Any

from botocore.config import Config
from storages.backends.s3 import S3Storage

# Two attempts of these and a pause are shorter than uWSGI's harakiri.
CONNECT_SECONDS = 2
READ_SECONDS = 5


class BucketStorage(S3Storage):
    """A bucket; a server that hangs does not hold a request up for long.

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
