"""Client address and request id, from HAProxy to the log of Django."""

import json
import uuid
from collections.abc import Iterator

from tests.stack.compose import Stack, contains_secret
from tests.waiting import eventually

# A page that does not exist, of which all three log a line.
MISSING = "/nowhere/"


def json_lines(stack: Stack, *services: str) -> Iterator[dict[str, object]]:
    """Yield the JSON lines of these logs."""
    for service in services:
        for line in stack.logs(service).splitlines():
            if line.startswith("{"):
                yield json.loads(line)


def lines_of_request(stack: Stack, request_id: str) -> dict[str, dict[str, object]]:
    """Return the line of a request in each log, by program."""
    lines = {
        str(line.get("server") or "django"): line
        for line in json_lines(stack, "haproxy", "server1", "server2")
        if line.get("request_id") == request_id
    }
    return lines if set(lines) == {"haproxy", "nginx", "django"} else {}


def trace(stack: Stack, request_id: str) -> dict[str, dict[str, object]]:
    """Wait until all three logs have the request, and return its lines."""
    return eventually(
        lambda: lines_of_request(stack, request_id), seconds=15, what="one id in all three logs"
    )


def test_all_three_logs_have_the_request_id(production: Stack) -> None:
    """Django has a line of its own for a failed request."""
    request_id = production.get(MISSING).headers["X-Request-ID"]

    lines = trace(production, request_id)

    assert lines["haproxy"]["path"] == MISSING
    assert lines["nginx"]["path"] == MISSING
    assert lines["django"]["request"] == f"GET {MISSING}"


def test_forwarding_headers_of_clients_are_ignored(production: Stack) -> None:
    forged = "forged-request-id-0123456789"
    answer = production.get(
        MISSING,
        headers={
            "X-Forwarded-For": "6.6.6.6",
            "X-Real-IP": "6.6.6.6",
            "Forwarded": "for=6.6.6.6",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example",
            "X-Request-ID": forged,
        },
    )
    request_id = answer.headers["X-Request-ID"]

    assert uuid.UUID(request_id)
    lines = trace(production, request_id)
    assert "6.6.6.6" not in json.dumps(lines)
    # All three have the address that HAProxy saw.
    assert lines["haproxy"]["client"] == lines["nginx"]["client"] == lines["django"]["client"]
    assert forged not in production.logs("server1") + production.logs("server2")


ASK_NGINX = """
import http.client
connection = http.client.HTTPConnection("127.0.0.1", 7999)
connection.request("GET", "/profile/", headers={"Host": "localhost", "X-Forwarded-Proto": "https"})
print(connection.getresponse().headers["Strict-Transport-Security"])
"""


def test_forged_x_forwarded_proto_is_not_https(production: Stack) -> None:
    """Django sends HSTS over HTTPS; only HAProxy's header counts, not that of a client."""
    assert "max-age=" in production.python_in("server1", ASK_NGINX)

    forged = production.get("/profile/", headers={"X-Forwarded-Proto": "https"})
    assert "Strict-Transport-Security" not in forged.headers


def test_too_large_body_gets_413_in_json(production: Stack) -> None:
    answer = production.post("/profile/", data=b"x" * (11 * 1024 * 1024 + 1))

    assert answer.status_code == 413
    assert answer.json() == {"detail": "The request is too large: the limit is 10 MB."}
    # The next request succeeds.
    assert production.get("/profile/").status_code == 200


def test_logs_contain_no_secrets(production: Stack) -> None:
    for service in (
        "env-check",
        "migrate",
        "server1",
        "server2",
        "worker",
        "haproxy",
        "db",
        "redis",
    ):
        log = production.logs(service)
        for name in ("DJANGO_SECRET_KEY", "DB_PASSWORD", "REDIS_PASSWORD", "STATS_PASSWORD"):
            assert not contains_secret(log, production.environment[name]), (
                f"{name} in {service}'s log"
            )
