"""Static files in a bucket: each release's are added, and none is ever taken away.

For servers that share no disk. While a release is rolled out both releases answer, and a page of
one may be followed by a request to the other; in the bucket are the files of both.
"""

import mimetypes
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from storages.backends.s3 import S3Storage

# Where in the bucket; a bucket policy lets everybody read what is here, and nothing else.
PREFIX = "static/"
# The same that nginx says of names with a hash.
CACHE_CONTROL = "public, max-age=31536000, immutable"
# A start has more patience than a request; but it still ends in good time.
LIMITS = Config(
    connect_timeout=3,
    read_timeout=15,
    retries={"total_max_attempts": 4, "mode": "standard"},
    max_pool_connections=8,
)
# Python's own table, whatever the machine has, and what is missing in it, as nginx has it.
TYPES = mimetypes.MimeTypes(filenames=())
for extension, kind in {
    ".eot": "application/vnd.ms-fontobject",
    ".js": "application/javascript",
    ".map": "application/json",
    ".md": "text/markdown",
    ".ttf": "font/ttf",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}.items():
    TYPES.add_type(kind, extension)

# What to do about what S3 answers; other errors are shown by their own name.
HINTS = {
    "NoSuchBucket": "There is no such bucket: create it, or correct AWS_STATIC_BUCKET_NAME.",
    "AccessDenied": "Allow s3:ListBucket on the bucket, and s3:PutObject on its {prefix}*.",
    "InvalidAccessKeyId": "Correct AWS_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "Correct AWS_SECRET_ACCESS_KEY.",
    "PermanentRedirect": "Set AWS_S3_REGION_NAME to the bucket's region.",
    "AuthorizationHeaderMalformed": "Set AWS_S3_REGION_NAME to the bucket's region.",
}
NO_CREDENTIALS = (
    "There are no credentials: give the machine a role (in a container its metadata service's hop "
    "limit has to be 2), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
)
UNREACHABLE_HINT = (
    "Can this machine reach the bucket's server (AWS_S3_ENDPOINT_URL, AWS_S3_REGION_NAME)?"
)


class StaticBucketError(Exception):
    """The files are not in the bucket; the message says why, and what to do."""


class Client(Protocol):
    """What is used of boto3's client, which any number of threads may share."""

    def get_paginator(self, operation_name: str) -> Any:
        """Return a paginator."""

    def put_object(self, **arguments: Any) -> Any:
        """Write an object, whole or not at all."""


def upload() -> tuple[int, int]:
    """Upload this release's files to the bucket, if they are missing there.

    Any number of servers may do so at once: a name with a hash has one content only.

    Returns:
        how many were sent, and how many there are.

    Raises:
        StaticBucketError: not all of them could be uploaded.
    """
    name = settings.STATIC_BUCKET["bucket_name"]
    try:
        files = hashed_files()
        client = connect()
        missing = files - names_in(client, name)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda file: send(client, name, file), sorted(missing)))
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        raise StaticBucketError(f"bucket {name}: {describe(error)}") from error
    return len(missing), len(files)


def hashed_files() -> set[str]:
    """Return the names that pages name, by the manifest that collectstatic has written.

    Raises:
        ValueError: there is no manifest.
    """
    names: Iterable[str] = getattr(staticfiles_storage, "hashed_files", {}).values()
    if not names:
        raise ValueError(f"{settings.STATIC_ROOT} has no manifest. Run `manage.py collectstatic`.")
    return set(names)


def connect() -> Client:
    """Return a client of the bucket's server, made as the one for uploads is."""
    storage = S3Storage(**settings.STATIC_BUCKET)
    storage.client_config = storage.client_config.merge(LIMITS)
    client: Client = storage.connection.meta.client
    return client


def names_in(client: Client, bucket: str) -> set[str]:
    """Return what the bucket has under the prefix, a request for each thousand."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX)
    return {item["Key"].removeprefix(PREFIX) for page in pages for item in page.get("Contents", ())}


def send(client: Client, bucket: str, name: str) -> None:
    """Write one file: as the image has compressed it, since a bucket cannot ask what is wanted."""
    path = Path(staticfiles_storage.path(name))
    packed = path.with_name(f"{path.name}.gz")
    encoding = {"ContentEncoding": "gzip"} if packed.exists() else {}
    client.put_object(
        Bucket=bucket,
        Key=PREFIX + name,
        Body=(packed if encoding else path).read_bytes(),
        ContentType=content_type(name),
        CacheControl=CACHE_CONTROL,
        **encoding,
    )


def content_type(name: str) -> str:
    """Return what a file is, by its name."""
    guess = TYPES.guess_type(name)[0] or "application/octet-stream"
    return f"{guess}; charset=utf-8" if guess.startswith("text/") else guess


def describe(error: Exception) -> str:
    """Return what is wrong and what to do; of S3's answer the code alone, which holds no secret."""
    if isinstance(error, NoCredentialsError):
        return NO_CREDENTIALS
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "an unknown error")
        hint = HINTS.get(code, "").format(prefix=PREFIX)
        return f"S3 answered {code} to {error.operation_name}. {hint}".strip()
    if isinstance(error, BotoCoreError):
        return f"{type(error).__name__}. {UNREACHABLE_HINT}"
    return str(error)
