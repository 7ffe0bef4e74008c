"""Messages in RabbitMQ: Kombu's own transport, with an end to every wait for a confirmation.

One that is short of memory or disk reads nothing more from who sends, and one that starts may take
a minute to answer who came too early. Kombu would give up in time, and then wait without end for
the answer to its goodbye.

https://www.rabbitmq.com/docs/confirms#publisher-confirms
"""

from typing import Any

from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES, pyamqp

# Longest wait for RabbitMQ's word that it has a message.
CONFIRM_SECONDS = 2


class Channel(pyamqp.Channel):
    """A channel that waits at most CONFIRM_SECONDS for a confirmation."""

    def basic_publish_confirm(self, *args: Any, **options: Any) -> Any:
        """Send a message, and return when RabbitMQ has it.

        Raises:
            OperationalError: it has not said so; not a lost connection, which would be tried again.
        """
        options["confirm_timeout"] = options.get("confirm_timeout") or CONFIRM_SECONDS
        connection = self.connection
        try:
            return super().basic_publish_confirm(*args, **options)
        except TimeoutError as error:
            connection.collect()
            raise OperationalError(
                f"the broker did not confirm a message within {CONFIRM_SECONDS} s"
            ) from error


class Connection(pyamqp.Connection):
    """A connection that makes such channels."""

    Channel = Channel


class Transport(pyamqp.Transport):
    """For amqp://."""

    Connection = Connection


class SSLTransport(pyamqp.SSLTransport):
    """For amqps://."""

    Connection = Connection


def prepare() -> None:
    """Let Celery find the transports."""
    TRANSPORT_ALIASES["amqp"] = f"{__name__}:{Transport.__name__}"
    TRANSPORT_ALIASES["amqps"] = f"{__name__}:{SSLTransport.__name__}"
