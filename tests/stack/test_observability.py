"""Request ids and secrets in logs, and metrics."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from demo.tests.images import make_image  # remove_demo
from ops.metrics import PORT
from tests.stack.compose import APP_SERVER, Stack, contains_secret, uwsgi_only
from tests.tree import ROOT
from tests.waiting import eventually

# Lines of supervisor and errors of nginx, whose format is fixed.
FIXED_FORM = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARN|CRIT) "
    r"|\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(warn|error|crit)\] "
)
PASSWORD = "a-password-of-the-tests"
MAKE_USER = (
    "from django.contrib.auth import get_user_model;"
    f"get_user_model().objects.create_user('watcher', password='{PASSWORD}')"
)
PRINT_USER = (
    "from django.contrib.auth import get_user_model;"
    "print(get_user_model().objects.get(username='watcher').pk)"
)
SCRAPE = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())
"""
# Spellings of the path that a proxy could normalize to it.
SPELLINGS = (
    "/metrics",
    "/metrics/",
    "//metrics",
    "/./metrics",
    "/x/../metrics",
    "/%6detrics",
    "/%2e/metrics",
    "/metrics?a=b",
    "/metrics;a",
    "/metrics%2f",
    "/static/../metrics",
    "/media/%2e%2e/metrics",
    "/METRICS",
    f"http://server1:{PORT}/metrics",
)
NAME = re.compile(r"\b((?:django|uwsgi|celery|mysite|haproxy)_[a-z_]+)\b")
MONITORING = ("variants/monitoring/alerts.yml", "variants/monitoring/grafana/dashboards/stack.json")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def token(production: Stack) -> str:
    """Create a user, and return the token."""
    production.run_in("server1", "python", "manage.py", "shell", "-c", MAKE_USER)
    answer = production.post("/api/token/", data={"username": "watcher", "password": PASSWORD})
    return str(answer.json()["token"])


def scrape(stack: Stack, service: str) -> Samples:
    """Scrape the metrics of a service from another container."""
    url = f"http://{service}:{PORT}/metrics"
    text = stack.run_in("server2", "python", "-c", SCRAPE, url)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0)


# remove_demo: begin
def upload(stack: Stack, token: str) -> dict[str, Any]:
    """Upload an image, wait until it is done, and return it with the request id."""
    headers = {"Authorization": f"Token {token}"}
    sent = stack.post("/api/uploads/", files={"image": ("a.png", make_image())}, headers=headers)
    assert sent.status_code == 201
    path = f"/api/uploads/{sent.json()['id']}/"

    def done() -> dict[str, Any]:
        upload: dict[str, Any] = stack.get(path, headers=headers).json()
        return upload if upload["status"] == "done" else {}

    return eventually(done, seconds=60, what="the upload is done") | {
        "request_id": sent.headers["X-Request-ID"]
    }


# remove_demo: end


def json_lines(text: str) -> Iterator[dict[str, Any]]:
    """Yield the lines that are JSON objects."""
    for line in text.splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def is_json(line: str) -> bool:
    """Return whether a line is a JSON object."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def new_lines(stack: Stack, service: str, mark: int) -> list[str]:
    """Return the lines of a log after the first `mark` lines."""
    return stack.logs(service).splitlines()[mark:]


def test_user_is_in_the_line_of_nginx_and_in_no_response(production: Stack, token: str) -> None:
    """Django says it in a header, which clients can neither see nor send."""
    headers = {
        "someone": {"Authorization": f"Token {token}"},
        "anonymous": {"Nginx-User-Id": "1", "Nginx-Logs": "1"},
    }
    answers = {who: production.get("/profile/", headers=more) for who, more in headers.items()}
    ids = {answer.headers["X-Request-ID"]: who for who, answer in answers.items()}

    def lines() -> dict[str, dict[str, Any]]:
        records = [
            line
            for server in ("server1", "server2")
            for line in json_lines(production.logs(server))
            if line.get("request_id") in ids
        ]
        return {ids[line["request_id"]]: line for line in records} if len(records) == 2 else {}

    # nginx's is the last one to be written.
    by_user = eventually(lines, seconds=15, what="a line of nginx for each request, and no other")
    assert by_user["anonymous"]["user_id"] == ""
    printed = production.run_in("server1", "python", "manage.py", "shell", "-c", PRINT_USER)
    assert by_user["someone"]["user_id"] == printed.split()[-1]
    for answer in answers.values():
        assert [name for name in answer.headers if name.lower().startswith("nginx")] == []


# remove_demo: begin
def test_every_log_has_the_request_id_of_an_upload(production: Stack, token: str) -> None:
    request_id = upload(production, token)["request_id"]

    def lines_by_program() -> dict[str, list[dict[str, Any]]]:
        lines: dict[str, list[dict[str, Any]]] = {}
        for service in ("haproxy", "server1", "server2", "worker"):
            for line in json_lines(production.logs(service)):
                if line.get("request_id") == request_id:
                    who = "worker" if service == "worker" else line.get("server", "django")
                    lines.setdefault(who, []).append(line)
        return lines if set(lines) == {"haproxy", "nginx", "worker"} and ended(lines) else {}

    def ended(lines: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        return [line for line in lines["worker"] if line["event"] == "task_succeeded"]

    lines = eventually(lines_by_program, seconds=20, what="one id in all three logs")
    [end] = ended(lines)
    assert end["task"] == "demo.tasks.process_upload"
    assert end["task_id"] and end["duration_ms"] >= 0
    # Only the lines of the request have the client and the user.
    assert "client" not in end and "user_id" not in end


# remove_demo: end


def test_worker_logs_only_json_lines(production: Stack, token: str) -> None:
    upload(production, token)  # remove_demo

    # Celery's own words at a stop are no log lines; another test may have stopped it.
    stopping = {"", "worker: Warm shutdown (MainProcess)"}
    lines = [line for line in production.logs("worker").splitlines() if line not in stopping]
    assert lines
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= set(json.loads(line)), line


def test_requests_cause_only_json_log_lines(production: Stack, token: str) -> None:
    """Start messages of supervisor and uWSGI are not JSON, and not tested."""
    names = ("server1", "server2", "haproxy")
    marks = {name: len(production.logs(name).splitlines()) for name in names}
    for path in (
        "/status/",
        "/profile/",
        "/nowhere/",
        "/api/schema/",
        "/static/none.css",
        "/metrics",
    ):
        for _ in range(4):
            production.get(path, headers={"Authorization": "Token wrong"})
    request_id = production.get("/profile/").headers["X-Request-ID"]

    for name, mark in marks.items():
        eventually(
            lambda name=name, mark=mark: "nowhere" in "".join(new_lines(production, name, mark)),  # type: ignore[misc]
            seconds=15,
            what=f"{name} has written its lines",
        )
        for line in new_lines(production, name, mark):
            assert FIXED_FORM.match(line) or is_json(line), line
    assert request_id in production.logs("haproxy")


def test_logs_contain_no_tokens_or_passwords(production: Stack, token: str) -> None:
    production.post("/api/token/", data={"username": "watcher", "password": "mistyped-secret"})
    production.get("/profile/?token=query-secret", headers={"Authorization": f"Token {token}"})
    upload(production, token)  # remove_demo

    logs = "".join(production.logs(name) for name in ("haproxy", "server1", "server2", "worker"))
    secrets = [
        *(token, PASSWORD, "mistyped-secret", "query-secret"),
        *(production.environment[name] for name in ("DJANGO_SECRET_KEY", "DB_PASSWORD")),
        *(production.environment[name] for name in ("STATS_PASSWORD", "REDIS_PASSWORD")),
    ]
    assert [secret for secret in secrets if contains_secret(logs, secret)] == []


def raw(stack: Stack, path: str) -> tuple[int, bytes]:
    """Request a path through HAProxy without normalization."""
    with socket.create_connection(("127.0.0.1", stack.http_port), timeout=10) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"X-Forwarded-Port: {PORT}\r\n\r\n".encode()
        )
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, response.read()


@pytest.mark.parametrize("path", SPELLINGS)
def test_no_path_spelling_reaches_the_metrics_from_outside(production: Stack, path: str) -> None:
    for _ in range(2):  # either server
        status, body = raw(production, path)

        assert status in (301, 400, 404)
        assert b"# HELP" not in body and b"_total" not in body


def test_metrics_port_is_not_published(production: Stack) -> None:
    for service in ("server1", "server2", "worker", "haproxy"):
        published = production.inspect(service, "{{json .HostConfig.PortBindings}}")
        assert f"{PORT}/tcp" not in (json.loads(published) or {})


def test_metrics_count_requests_exactly(production: Stack) -> None:
    def count() -> float:
        return sum(
            value(
                scrape(production, server),
                "django_http_requests_total",
                **{"view": "profile", "method": "GET", "status": "200"},
            )
            for server in ("server1", "server2")
        )

    before = count()
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(production.get, ["/profile/"] * 200))

    assert {answer.status_code for answer in answers} == {200}
    assert count() - before == 200


# remove_demo: begin
def test_metrics_count_tasks_exactly(production: Stack, token: str) -> None:
    task = {"task": "demo.tasks.process_upload"}
    before = scrape(production, "worker")
    for _ in range(5):
        upload(production, token)

    def counted() -> bool:
        after = scrape(production, "worker")
        return all(
            value(after, name, **task) - value(before, name, **task) == 5
            for name in (
                "celery_tasks_started_total",
                "celery_tasks_succeeded_total",
                "celery_task_duration_seconds_count",
            )
        )

    eventually(counted, seconds=15, what="five more tasks are counted")
    after = scrape(production, "worker")
    assert value(after, "celery_broker_up") == 1
    assert value(after, "celery_queue_length", queue="celery") == 0
    assert value(after, "mysite_uploads_waiting") == 0


# remove_demo: end


@uwsgi_only
def test_uwsgi_exports_metrics(production: Stack) -> None:
    server = scrape(production, "server1")

    assert sum(number for (name, _), number in server.items() if name == "uwsgi_workers") == 2
    assert value(server, "uwsgi_listen_queue_limit") == 256


def test_haproxy_exports_metrics(production: Stack) -> None:
    balancer = scrape(production, "haproxy")

    labels = {"proxy": "dynamic_backend", "server": "server1", "state": "UP"}
    assert value(balancer, "haproxy_server_status", **labels) == 1


def test_every_metric_of_the_monitoring_page_exists(production: Stack, token: str) -> None:
    """Every metric that docs/monitoring.md, an alert or the dashboard names."""
    upload(production, token)  # remove_demo
    production.get("/nowhere/")
    exported = {
        name
        for service in ("server1", "server2", "worker", "haproxy")
        for name, _ in scrape(production, service)
    }
    # A counter without a value is not exported yet.
    exported |= {"django_http_exceptions_total"}
    # Nor are those of backups before the first one: stackctl/test_remote_backup.py reads them.
    named = {
        name
        for page in ("docs/monitoring.md", *MONITORING)
        for name in NAME.findall((ROOT / page).read_text())
        if not name.startswith("mysite_backup_")
    }

    assert len(named) > 20
    missing = named - exported
    if APP_SERVER != "uwsgi":
        missing = {name for name in missing if not name.startswith("uwsgi_")}
    assert missing == set()
