"""Clients that hold on to what they occupy: a byte a second, and again when they are cut off."""

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass

from tests.background import InBackground

DRIP_SECONDS = 1.0
# HAProxy answers 503 to what has waited 1.5 s in a queue.
HELD_SECONDS = 6.0


@dataclass(frozen=True)
class Ending:
    """How one slow connection ended before its client was through."""

    seconds: float
    # The answer's status, or 0 where the connection was closed without one.
    status: int


class SlowClients(InBackground):
    """Many such clients at once, for the time of a `with` block."""

    def __init__(self, port: int, begin: bytes, count: int = 300) -> None:
        """Describe them; the block starts them.

        Args:
            port: where the site is on 127.0.0.1.
            begin: what each sends at once; `{number}` is its connection's own number.
            count: how many connections are open at a time.
        """
        self.port = port
        self.begin = begin
        self.count = count
        self.endings: list[Ending] = []
        # How many have sent what they send at once, over all the time.
        self.begun = 0
        # Since when those that have sent it wait for an answer, by number.
        self.waiting: dict[int, float] = {}
        super().__init__([lambda over: asyncio.run(self._all())], end_seconds=10)

    def held(self) -> set[int]:
        """Return the numbers of those that have waited longer than any answer takes."""
        since = time.monotonic() - HELD_SECONDS
        return {number for number, began in list(self.waiting.items()) if began < since}

    def is_settled(self) -> bool:
        """Return whether each of the first connections has ended or is held."""
        first = {number for number in list(self.waiting) if number < self.count}
        return self.begun >= self.count and first <= self.held()

    def statuses(self) -> Counter[int]:
        """Return how often each answer ended a connection."""
        return Counter(ending.status for ending in self.endings)

    def longest(self) -> float:
        """Return how many seconds the longest of the ended connections lasted."""
        return max((ending.seconds for ending in self.endings), default=0.0)

    async def _all(self) -> None:
        numbers = itertools.count()
        await asyncio.gather(*(self._again_and_again(numbers) for _ in range(self.count)))

    async def _again_and_again(self, numbers: "itertools.count[int]") -> None:
        while not self.over.is_set():
            started = time.monotonic()
            status = await self._one(next(numbers))
            if status is not None:
                self.endings.append(Ending(time.monotonic() - started, status))
                # One that is turned away at once does not make an attack of another kind.
                await asyncio.sleep(DRIP_SECONDS)

    async def _one(self, number: int) -> int | None:
        """Drip until the connection ends or all is over; return how it ended."""
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
