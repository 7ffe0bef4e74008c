"""Cache, broker and files: in Redis and S3 where the environment names them, else here."""

from pathlib import Path
from typing import Any

from ops import environment
from ops.environment import (
    KAFKA_SCHEME,  # remove_kafka
    Environment,
)

# The broker without a server: messages are files. The host's name means nothing.
FILES = "filesystem://localhost//"

# Longest wait for Redis: every worker may be in it once, before the breaker opens
# (ops/breaker.py).
CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 0.5
# A worker's wait for its next message has to fit into this.
WORKER_ANSWER_SECONDS = 2

# A worker and an AMQP broker each notice after two of these that the other has vanished.
# In a server nothing would answer between two requests; it opens a connection again.
HEARTBEAT_SECONDS = 20
# Seconds that such a broker may take for an answer. A visitor waits for a server's; a worker that
# starts creates thirty queues, which a slow disk delays.
# https://docs.celeryq.dev/projects/amqp/en/latest/reference/amqp.transport.html
SILENCE_SECONDS = 1
WORKER_SILENCE_SECONDS = 20

# remove_rabbitmq: begin
# A quorum queue confirms a message when it is on the disks of most of its servers. With a topic
# exchange the broker waits for a retry's pause, not a worker.
# https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/rabbitmq.html
RABBITMQ: dict[str, Any] = {
    "task_default_queue_type": "quorum",
    "task_default_exchange_type": "topic",
    "task_create_missing_queue_type": "quorum",
    "task_create_missing_queue_exchange_type": "topic",
    "worker_detect_quorum_queues": True,
}

# remove_rabbitmq: end
# remove_kafka: begin
# A worker's orders and questions from outside would each be a topic, for ever.
KAFKA: dict[str, Any] = {"worker_enable_remote_control": False}
# remove_kafka: end
# By how an address begins.
SETTINGS_BY_SCHEME: dict[str, dict[str, Any]] = {
    "amqp": RABBITMQ,  # remove_rabbitmq
    KAFKA_SCHEME: KAFKA,  # remove_kafka
}


def cache_settings(env: Environment) -> dict[str, Any]:
    """Return CACHES: Redis, else a table of the database, which all processes share.

    https://docs.djangoproject.com/en/5.2/topics/cache/#redis
    """
    url = environment.redis_url(env, environment.CACHE)
    if not url:
        return {"default": {"BACKEND": "ops.cache.ExactDatabaseCache", "LOCATION": "cache"}}
    return {
        "default": {
            "BACKEND": "ops.cache.QuickRedisCache",
            "LOCATION": url,
            "OPTIONS": {
                "socket_connect_timeout": CONNECT_SECONDS,
                "socket_timeout": ANSWER_SECONDS,
            },
        }
    }


def broker_settings(env: Environment, folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the broker's URL and its options: Redis, another that is named, or files in `folder`.

    https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html
    https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.filesystem.html
    """
    url = environment.broker_url(env)
    # A publisher gives up at once; a worker sends what was not sent (ops/tasks).
    options: dict[str, Any] = {"max_retries": 1, "interval_start": 0, "interval_max": 0.1}
    if not url:
        url = FILES
        options |= {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.3,
        }
    elif url.startswith("redis"):
        options |= {
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "socket_keepalive": True,
            "visibility_timeout": env.int("TASK_VISIBILITY_SECONDS"),
        }
    # remove_rabbitmq: begin
    elif url.startswith("amqp"):
        # A message counts as sent when RabbitMQ says that it is on its disk.
        silence = {"read_timeout": SILENCE_SECONDS, "write_timeout": SILENCE_SECONDS}
        options |= {"confirm_publish": True, **silence}
    # remove_rabbitmq: end
    return url, options


def broker_defaults(url: str) -> dict[str, Any]:
    """Return Celery's other settings that a broker needs, by its URL."""
    return next((more for scheme, more in SETTINGS_BY_SCHEME.items() if url.startswith(scheme)), {})


def file_storage(env: Environment) -> dict[str, Any]:
    """Return STORAGES["default"]: MEDIA_ROOT, or an S3 bucket if one is named."""
    bucket = env.str("AWS_STORAGE_BUCKET_NAME")
    if not bucket:
        return {"BACKEND": "ops.storage.local.DurableFileStorage"}
    return {
        "BACKEND": "ops.storage.bucket.BucketStorage",
        # As on a disk: an existing file is never overwritten.
        "OPTIONS": {**bucket_options(env, bucket), "file_overwrite": False},
    }


def bucket_options(env: Environment, name: str) -> dict[str, Any]:
    """Return how a bucket is reached; nothing for no bucket.

    https://django-storages.readthedocs.io/en/latest/backends/amazon-S3.html
    """
    if not name:
        return {}
    return {
        "bucket_name": name,
        "region_name": env.str("AWS_S3_REGION_NAME") or None,
        "endpoint_url": env.str("AWS_S3_ENDPOINT_URL") or None,
        "addressing_style": env.str("AWS_S3_ADDRESSING_STYLE"),
        # Without keys boto3 uses the machine's IAM role.
        "access_key": env.str("AWS_ACCESS_KEY_ID") or None,
        "secret_key": env.str("AWS_SECRET_ACCESS_KEY") or None,
        "signature_version": "s3v4",
    }
