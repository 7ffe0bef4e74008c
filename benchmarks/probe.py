"""Requests a URL until it answers 200, and prints the response as JSON.

Runs in a container from standard input, so it imports nothing of this package:
`python - URL SECONDS`.
"""

import http.client
import json
import sys
import time
from urllib.parse import urlsplit


def ask(url: str) -> tuple[int, str, str]:
    """Return status, content type and body of a GET; without a response 0, "" and the error."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, "", str(error)
    finally:
        connection.close()
    return answer.status, answer.getheader("Content-Type", ""), body


def main(url: str, seconds: str) -> None:
    """Send requests until one gets a 200 or the time is over."""
    deadline = time.monotonic() + float(seconds)
    while (answer := ask(url))[0] != http.client.OK and time.monotonic() < deadline:
        time.sleep(0.2)
    json.dump(dict(zip(("status", "type", "body"), answer, strict=True)), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
