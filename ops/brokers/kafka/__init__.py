"""Messages in Kafka: Kombu's own transport, made to lose none.

Kombu's (5.7) takes a message that could not be written for sent, and with one acknowledgement
counts all as done that it has fetched: a killed worker's other jobs are lost. Here a message counts
as sent when Kafka has said so, and a partition's position is committed up to the first message that
is not done. So one may come twice, as with any broker.

https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.confluentkafka.html
https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html
"""

from kombu.transport import TRANSPORT_ALIASES

from ops.environment import KAFKA_SCHEME


def prepare() -> None:
    """Let Celery find the transport."""
    TRANSPORT_ALIASES[KAFKA_SCHEME] = f"{__name__}.transport:Transport"
