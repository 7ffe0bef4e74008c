"""Runs inside a server container: sends all cases to that server in parallel, prints JSON."""

import http.client
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

CHUNK = 10_000


def chunks(size: int) -> Iterator[bytes]:
    """Yield a body in chunks."""
    for _ in range(size // CHUNK):
        yield bytes(CHUNK)


def send(case: dict[str, Any]) -> tuple[int, float, bool]:
    """Send a request; return its status, its seconds, and whether the response was cut off."""
    size = case.get("body", 0)
    connection = http.client.HTTPConnection("127.0.0.1", 7999, timeout=120)
    begun = time.monotonic()
    connection.request(
        "POST" if size else "GET",
        case["path"],
        body=chunks(size) if case.get("chunked") else bytes(size),
        headers={"Host": "localhost"},
        encode_chunked=bool(case.get("chunked")),
    )
    answer = connection.getresponse()
    try:
        answer.read()
        cut = False
    except http.client.IncompleteRead:
        cut = True
    return answer.status, time.monotonic() - begun, cut


cases = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(cases)) as pool:
    print(json.dumps(list(pool.map(send, cases))))
