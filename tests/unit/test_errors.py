"""Errors are sent to SENTRY_DSN, with context and without secrets."""

import gzip
import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ops import environment
from ops.environment.fault import InvalidValueError
from ops.environment.validators import dsn
from tests.tree import ROOT
from tests.unit.forks import run_forked

FAIL_TWICE = """
import sentry_sdk
from django.conf import settings
from werkzeug.test import Client

settings.ROOT_URLCONF = "tests.orders"
from mysite.wsgi import application
from tests import orders
from mysite.celery import app

def fail(*args):
    password = "variable-secret"
    raise KeyError(f"told {len(password)}")

orders.count = fail
client = Client(application)
client.set_cookie("memory", "cookie-secret")
answer = client.post(
    "/api/orders/?token=query-secret",
    data={"password": "body-secret"},
    headers={"X-Request-ID": "id-of-the-request", "X-Key": "header-secret"},
    environ_base={"REMOTE_ADDR": "192.0.2.7"},
)
assert answer.status_code == 500, answer

@app.task(name="failing")
def failing(word):
    fail(word)

failing.apply(["argument-secret"])
sentry_sdk.flush(10)
"""
ONLY_IMPORT = """
import sys
import django
django.setup()
print("sentry_sdk" in sys.modules)
"""


class Collector(BaseHTTPRequestHandler):
    """A server that records what the Sentry client sends.

    https://develop.sentry.dev/sdk/data-model/envelopes/
    """

    received: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        type(self).received.append(body)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """Return the DSN of a collector, and its received envelopes."""
    Collector.received = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://key-secret@127.0.0.1:{server.server_port}/1", Collector.received
        server.shutdown()


def run(code: str, folder: Path, **environment: str) -> str:
    """Run code with the local settings and return its output."""
    done = run_forked(
        *("-c", code),
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_READ_DOTENV": "false",
            "DJANGO_SETTINGS_MODULE": "mysite.settings.local",
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "DJANGO_DEBUG": "false",
            **environment,
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def events(received: list[bytes]) -> list[dict[str, Any]]:
    """Return the events of the envelopes: a line about the item, then the item."""
    lines = [line for envelope in received for line in envelope.splitlines() if line]
    return [
        json.loads(lines[number + 1])
        for number, line in enumerate(lines)
        if json.loads(line).get("type") == "event"
    ]


def test_sentry_receives_errors_without_secrets(
    collector: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    address, received = collector
    run(FAIL_TWICE, tmp_path, SENTRY_DSN=address, RELEASE="2025-1", PROFILE="set1")

    assert len(events(received)) == 2
    by_name = {event["transaction"]: event for event in events(received)}
    request = next(event for name, event in by_name.items() if "orders" in name)
    task = by_name["failing"]
    for event in (request, task):
        assert event["exception"]["values"][-1]["type"] == "KeyError"
        assert (event["environment"], event["release"]) == ("local", "2025-1")
        assert event["server_name"] == "set1"
    assert request["tags"]["request_id"] == "id-of-the-request"
    assert request["request"] == {"method": "POST", "url": "http://localhost/api/orders/"}
    everything = b"".join(received).decode()
    for secret in ("body", "cookie", "query", "header", "variable", "argument"):
        assert f"{secret}-secret" not in everything


def test_sentry_is_not_loaded_without_sentry_dsn(tmp_path: Path) -> None:
    assert run(ONLY_IMPORT, tmp_path).strip() == "False"


@pytest.mark.parametrize("text", ["https://key@host/1", "http://key:secret@host:9000/path/1"])
def test_valid_sentry_dsn_is_accepted(text: str) -> None:
    environ = {
        "DJANGO_SETTINGS_MODULE": "mysite.settings.test",
        "DJANGO_READ_DOTENV": "false",
        "SENTRY_DSN": text,
    }
    assert environment.load(environ).str("SENTRY_DSN") == text


@pytest.mark.parametrize(
    "text", ["host", "https://host/1", "https://key@host/", "ftp://key@host/1", "https://key@/1"]
)
def test_invalid_sentry_dsn_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InvalidValueError) as refusal:
        dsn(text)

    assert "key" not in str(refusal.value).replace("https://key@host/1", "")
