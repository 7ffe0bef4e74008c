"""Messages as files, for `make run`: Kombu's own transport, quicker to let its worker end.

https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.filesystem.html
"""

from pathlib import Path
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.filesystem import Transport

# Celery checks whether to stop only between two waits, which last two seconds by default.
LONGEST_WAIT_SECONDS = 0.3


class QuickTransport(Transport):
    """Waits for messages a moment at a time."""

    def drain_events(  # type: ignore[override]  # its two parents differ themselves
        self, connection: Any, timeout: float | None = None
    ) -> None:
        """Deliver a message.

        Args:
            connection: the connection whose queues are read.
            timeout: seconds to wait for one, at most LONGEST_WAIT_SECONDS.

        Raises:
            TimeoutError: none came.
        """
        wait = min(timeout or LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
        super().drain_events(connection, timeout=wait)


def prepare(options: dict[str, Any]) -> None:
    """Make the folders and let Celery find the transport.

    Args:
        options: Celery's broker_transport_options.
    """
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:{QuickTransport.__name__}"
    for name, folder in options.items():
        if "folder" in name:
            Path(folder).mkdir(parents=True, exist_ok=True)
