"""Messages as files, for `make run`: Kombu's own transport, safe for processes that run at once.

Kombu writes a file while others may read it, and a worker that reads half of one ends.

https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.filesystem.html
"""

import fcntl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.filesystem import Channel, Transport
from kombu.utils.json import dumps, loads

# Celery checks whether to stop only between two waits, which last two seconds by default.
LONGEST_WAIT_SECONDS = 0.3


class SafeChannel(Channel):
    """Lets other processes see no file that is only half written."""

    def _put(  # type: ignore[override]  # its two parents differ themselves
        self, queue: str, payload: Any, **_: Any
    ) -> None:
        """Write a message under another name first. Kombu delivers in the order of the names."""
        name = f"{time.time_ns()}_{uuid.uuid4()}.{queue}.msg"
        file = Path(self.data_folder_out, name)
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(dumps(payload))
        unfinished.rename(file)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        """Take the oldest message. Kombu moves it to /tmp: on another disk two processes get it."""
        for file in sorted(Path(self.data_folder_in).iterdir()):
            if file.name.partition(".")[2] != f"{queue}.msg":
                continue
            with suppress(FileNotFoundError):  # another process was quicker
                taken = file.rename(file.with_suffix(".taken"))
                payload = loads(taken.read_text())
                taken.unlink()
                return payload
        raise Empty

    def get_table(self, exchange: str) -> list[Any]:
        """Return the queues of an exchange."""
        with self._locked():
            return super().get_table(exchange)

    def _queue_bind(self, *names: str) -> None:
        with self._locked():
            super()._queue_bind(*names)

    def _delete(self, *names: str, **options: Any) -> None:
        with self._locked():
            super()._delete(*names, **options)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with Path(self.control_folder, "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class QuickTransport(Transport):
    """Waits for messages a moment at a time, so that its worker ends quickly."""

    Channel = SafeChannel

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
