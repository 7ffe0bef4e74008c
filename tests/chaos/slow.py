"""Slow clients: they send a byte a second, and reconnect when they are cut off."""

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass

from tests.background import InBackground

DRIP_SECONDS = 1.0
# Longer than any response takes: HAProxy answers 503 after 1.5 s in a queue.
HELD_SECONDS = 6.0


@dataclass(frozen=True)
class ClosedConnection:
    """A slow connection that the server ended."""

    seconds: float
    # The status, or 0 if the connection was closed without a response.
    status: int


class SlowClients(InBackground):
    """Run many slow clients in parallel during a `with` block."""

    def __init__(self, port: int, begin: bytes, count: int = 300) -> None:
        """Prepare the clients; entering the block starts them.

        Args:
            port: the port of the site on 127.0.0.1.
            begin: the bytes that each sends at once; `{number}` is the number of its connection.
            count: the number of open connections.
        """
        self.port = port
        self.begin = begin
        self.count = count
        self.endings: list[ClosedConnection] = []
        # Number of connections that have sent `begin` so far.
        self.begun = 0
        # When each open connection sent `begin`, by number.
        self.waiting: dict[int, float] = {}
        super().__init__([lambda over: asyncio.run(self._hold_all())], end_seconds=10)

    def held(self) -> set[int]:
        """Return the connections that have waited longer than any response takes."""
        since = time.monotonic() - HELD_SECONDS
        return {number for number, began in list(self.waiting.items()) if began < since}

    def is_settled(self) -> bool:
        """Return whether each of the first connections has ended or is held."""
        first = {number for number in list(self.waiting) if number < self.count}
        return self.begun >= self.count and first <= self.held()

    def statuses(self) -> Counter[int]:
        """Count the statuses of the ended connections."""
        return Counter(ending.status for ending in self.endings)

    def longest(self) -> float:
        """Return the seconds of the longest ended connection."""
        return max((ending.seconds for ending in self.endings), default=0.0)

    async def _hold_all(self) -> None:
        numbers = itertools.count()
        await asyncio.gather(*(self._reconnect(numbers) for _ in range(self.count)))

    async def _reconnect(self, numbers: "itertools.count[int]") -> None:
        while not self.over.is_set():
            started = time.monotonic()
            status = await self._hold_one(next(numbers))
            if status is not None:
                self.endings.append(ClosedConnection(time.monotonic() - started, status))
                # Pause, so that refused connections do not become a flood.
                await asyncio.sleep(DRIP_SECONDS)

    async def _hold_one(self, number: int) -> int | None:
        """Send a byte a second until the connection or the block ends; return the status."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return 0
        answer = asyncio.ensure_future(reader.readline())
        try:
            writer.write(self.begin.replace(b"{number}", str(number).encode()))
            await writer.drain()
            self.begun += 1
            self.waiting[number] = time.monotonic()
            while not self.over.is_set():
                done, _ = await asyncio.wait({answer}, timeout=DRIP_SECONDS)
                if done:
                    words = answer.result().split()
                    return int(words[1]) if len(words) > 1 else 0
                writer.write(b"x")
                await writer.drain()
        except OSError:
            return 0
        finally:
            self.waiting.pop(number, None)
            answer.cancel()
            writer.close()
        return None
