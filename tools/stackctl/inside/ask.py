"""Runs inside a server's container: requests pages from the server, around the load balancer.

Arguments: a mark, the Host header, then paths. Prints the mark and JSON behind it, on one line:
each path's status and body, in order.
"""

import http.client
import json
import sys

PORT = 7999
SECONDS = 25
LONGEST = 20_000


def ask(host: str, path: str) -> dict[str, object]:
    """Ask once; 0 means no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=SECONDS)
    # As the load balancer says it of a request that came by TLS, so that none is redirected.
    headers = {"Host": host, "X-Forwarded-Proto": "https", "Accept": "application/json"}
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(LONGEST).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return {"status": 0, "body": str(error)}
    return {"status": answer.status, "body": body}


def answer(mark: str, host: str, paths: list[str]) -> None:
    """Ask for each path, and print the answers behind the mark."""
    print(f"\n{mark}{json.dumps([ask(host, path) for path in paths])}", flush=True)


if __name__ == "__main__":
    answer(sys.argv[1], sys.argv[2], sys.argv[3:])
