"""Visitors at a fixed rate while others keep connections open; prints what they saw as JSON.

Runs in a container from standard input, so it imports nothing of this package:
`python - PORT PATH RATE SECONDS KEPT KEPT_PATH`.
"""

import asyncio
import json
import resource
import sys
import time

# HAProxy closes a connection that is idle for longer than ten seconds.
PAUSE_SECONDS = 8.0
# Longer than HAProxy's queue and a second try of a lost SYN.
ANSWER_SECONDS = 15
HEAD = "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: {}\r\nConnection: {}\r\n\r\n"


def request(path: str, *, keep: bool) -> bytes:
    """Return a GET. HAProxy has files for those that read br in its cache; visitors do not."""
    words = ("br", "keep-alive") if keep else ("identity", "close")
    return HEAD.format(path, *words).encode()


async def visit(port: int, path: str) -> tuple[bool, float]:
    """Send a request over a connection of its own; return whether it got a 200, and the seconds."""
    started, good = time.monotonic(), False
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request(path, keep=False))
                good = (await reader.read()).startswith(b"HTTP/1.1 200 ")
            finally:
                writer.close()
    except OSError:
        pass
    return good, time.monotonic() - started


async def keep_open(port: int, path: str, delay: float, answers: list[bool]) -> None:
    """Send a request every PAUSE_SECONDS; reopen the connection when the server has closed it."""
    await asyncio.sleep(delay)
    writer = None
    while True:
        due = time.monotonic() + PAUSE_SECONDS
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(path, keep=True))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
            answers.append(head.startswith(b"http/1.1 200 "))
            closes = b"\r\nconnection: close" in head
        except (OSError, EOFError, IndexError):
            answers.append(False)
            closes = True
        if closes and writer is not None:
            writer.close()
            writer = None
        await asyncio.sleep(due - time.monotonic())


async def crowd(
    port: int, path: str, rate: float, seconds: float, kept: int, kept_path: str
) -> dict[str, float]:
    """Open the kept connections over PAUSE_SECONDS, then let visitors arrive for `seconds`."""
    answers: list[bool] = []
    async with asyncio.TaskGroup() as group:
        idle = [
            group.create_task(keep_open(port, kept_path, n * PAUSE_SECONDS / kept, answers))
            for n in range(kept)
        ]
        begun = time.monotonic() + PAUSE_SECONDS
        visits = []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(begun + number / rate - time.monotonic())
            visits.append(group.create_task(visit(port, path)))
        await asyncio.sleep(begun + seconds - time.monotonic())
        await asyncio.gather(*visits)
        for task in idle:
            task.cancel()
    outcomes = [task.result() for task in visits]
    times = sorted(seconds for _, seconds in outcomes) or [0.0]
    return {
        "requests": len(outcomes),
        "failed": sum(not good for good, _ in outcomes),
        "median_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[len(times) * 99 // 100] * 1000,
        "kept_requests": len(answers),
        "kept_failed": answers.count(False),
    }


def main(port: str, path: str, rate: str, seconds: str, kept: str, kept_path: str) -> None:
    """Print the figures."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    figures = crowd(int(port), path, float(rate), float(seconds), int(kept), kept_path)
    json.dump(asyncio.run(figures), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
