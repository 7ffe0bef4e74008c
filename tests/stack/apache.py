"""Requests to Apache and nginx next to each other, load through them, and Apache's state."""

import http.client
import json
import re
from itertools import repeat
from typing import Any

import requests

from tests.chaos.load import Client, Load, Request
from tests.stack.compose import Stack

# Headers of the connection, or with the current time.
IGNORED_HEADERS = {
    *("connection", "keep-alive", "transfer-encoding", "content-length"),
    *("date", "server", "set-cookie", "accept-ranges"),
}


# Only their presence is compared, since their values differ.
VALIDATORS = {"etag", "last-modified", "expires"}


def port_of(stack: Stack, server: str) -> int:
    return int(stack.environment[f"{server}_PORT"])


def ask(port: int, method: str, path: str, headers: dict[str, str], body: str) -> list[Any]:
    """Send exactly this request; return status, compared headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    # Send the path without normalization.
    connection._validate_path = lambda _: None  # type: ignore[attr-defined]
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    sent = {"Host": "localhost", "X-Request-ID": "parity-of-servers", **headers}
    if body:
        sent["Content-Length"] = str(len(body))
    for name, value in sent.items():
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    kept = sorted(
        [name.lower(), sorted(re.split("[;,] ?", value)) if name.lower() not in VALIDATORS else "*"]
        for name, value in answer.getheaders()
        if name.lower() not in IGNORED_HEADERS
    )
    return [answer.status, kept, read]


def comparable(answer: list[Any]) -> list[Any]:
    """Return a response without parts that differ between servers or requests."""
    status, headers, body = answer
    # The default error pages of the servers differ.
    if status >= 400 and body.lstrip().lower().startswith((b"<html", b"<!doctype html public")):
        headers = [header for header in headers if header[0] != "content-type"]
        body = b"a page of the web server's own"
    return [status, headers, re.sub(rb'"milliseconds": [\d.]+|"set\d"', b"", body)]


def log_records(stack: Stack, service: str) -> list[dict[str, Any]]:
    """Return the JSON records of a log."""
    return [json.loads(line) for line in stack.logs(service).splitlines() if line[:1] == "{"]


def visitors(interval: float = 0.1) -> list[Client]:
    """Return twelve clients with pages and refused writes, on kept and new connections."""
    page, write = Request("GET", "/profile/"), Request("POST", "/profile/", 405)
    return [
        Client(repeat(page if number % 3 else write), keep_alive=number % 2 == 0, interval=interval)
        for number in range(12)
    ]


def writers() -> list[Client]:
    """Return ten clients with refused writes at a high rate."""
    write = Request("POST", "/profile/", 405)
    return [
        Client(repeat(write), keep_alive=number % 2 == 0, interval=0.05) for number in range(10)
    ]


def states(stack: Stack) -> set[str]:
    """Return the states of Apache in HAProxy."""
    rows = [row for row in stack.statistics() if row["svname"] == "apache"]
    return {row["status"] for row in rows if row["status"] != "no check"}


def explain(stack: Stack, load: Load) -> str:
    """Return a summary of the load, and every log line of its failed requests."""
    ids = [outcome.error.removeprefix("request ") for outcome in load.failed]
    services = ("haproxy", "apache", "server1", "server2")
    lines = [line for service in services for line in stack.logs(service).splitlines()]
    return "\n".join([load.summary(), *(line for line in lines if any(i in line for i in ids))])


def checks_time_out(stack: Stack) -> bool:
    """Return whether the last health check of server2 timed out in HAProxy."""
    return any(
        row["check_status"].strip("* ") == "L4TOUT"
        for row in stack.statistics()
        if (row["pxname"], row["svname"]) == ("static_backend", "server2")
    )


def servers_behind_apache(stack: Stack) -> set[str]:
    """Return the servers that answer through Apache."""
    url = f"http://127.0.0.1:{port_of(stack, 'APACHE')}/profile/"
    return {requests.get(url, timeout=10).json()["server"] for _ in range(6)}
