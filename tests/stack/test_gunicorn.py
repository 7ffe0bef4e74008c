"""gunicorn instead of uWSGI on one of two servers: clients see no difference."""

import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from itertools import repeat
from typing import Any

import pytest

from tests.chaos.load import Client, Load, Request
from tests.stack.compose import Stack, docker
from tests.stack.test_recovery import SUPERVISORCTL, assert_container_ends, processes, stop_order
from tests.waiting import eventually

SERVER = "server2"
GUNICORN = {"APP_SERVER": "gunicorn"}
# Raw requests to both servers: (method, path, headers, body).
CASES: dict[str, tuple[str, str, dict[str, str], str]] = {
    "profile": ("GET", "/profile/", {}, ""),
    "redirect": ("GET", "/admin", {}, ""),
    "redirect to sign in": ("GET", "/admin/?next=%2Fa%20b", {}, ""),
    "text": ("GET", "/profile/?format=txt", {}, ""),
    "head": ("HEAD", "/profile/", {}, ""),
    "ready": ("GET", "/readyz", {"Host": "any.example"}, ""),
    "unknown host": ("GET", "/profile/", {"Host": "any.example"}, ""),
    "host with port": ("GET", "/profile/", {"Host": "localhost:8080"}, ""),
    "https": ("GET", "/profile/", {"X-Forwarded-Proto": "https"}, ""),
    "https, or not": (
        *("GET", "/profile/"),
        {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"},
        "",
    ),
    "not found": ("GET", "/nowhere/", {}, ""),
    "escaped": ("GET", "/nowhere/%2561%3Fb%23c/%C3%A9%FF;d", {}, ""),
    "slashes": ("GET", "//profile//", {}, ""),
    "dots": ("GET", "/x/../profile/", {}, ""),
    "long address": ("GET", f"/profile/?{'a' * 7000}", {}, ""),
    "a header of nginx's own": (
        *("GET", "//metrics"),
        {"Nginx-Server-Port": "9145"},
        "",
    ),
    "not allowed": ("DELETE", "/profile/", {}, ""),
    "an unknown token": ("GET", "/api/schema/", {"Authorization": "Token none"}, ""),
    "form": (
        *("POST", "/api/token/"),
        {"Content-Type": "application/x-www-form-urlencoded"},
        "username=unknown&password=wrong",
    ),
    "too large": ("POST", "/profile/", {"Content-Length": str(12 * 1024 * 1024)}, ""),
    "static": ("GET", "/static/staticfiles.json", {}, ""),
    "no such file": ("GET", "/static/none.css", {}, ""),
}
EXPECTED_STATUS = {
    **dict.fromkeys(CASES, 200),
    **{"redirect": 301, "redirect to sign in": 302, "unknown host": 400, "dots": 400},
    **{"not found": 404, "escaped": 404, "a header of nginx's own": 404, "no such file": 404},
    **{"not allowed": 405, "an unknown token": 401, "form": 400, "too large": 413},
}
ASK = """
import http.client, json, sys
def ask(server, method, path, headers, body):
    connection = http.client.HTTPConnection(server, 7999, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    sent = {"Host": "localhost", "X-Request-ID": "parity-of-servers", **headers}
    if body:
        sent["Content-Length"] = str(len(body))
    for name, value in sent.items():
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    answer = connection.getresponse()
    return answer.status, sorted(answer.getheaders()), answer.read().decode()
print(json.dumps({
    name: [ask(server, *case) for server in ("server1", "server2")]
    for name, case in json.loads(sys.argv[1]).items()
}))
"""


@pytest.fixture(scope="module", autouse=True)
def failing_container(production: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a container whose application cannot be loaded; it ends while other tests run."""
    broken = tmp_path_factory.mktemp("fatal") / "wsgi.py"
    broken.write_text("raise RuntimeError('not today')\n")
    name = f"{production.project}-fatal-gunicorn"
    docker(
        *("run", "--detach", "--name", name, "--network", "none", "-e", "APP_SERVER=gunicorn"),
        *("-e", "DRAIN_SECONDS=0", "-e", "DATABASE_URL=sqlite:////tmp/db.sqlite3"),
        *("-e", "REDIS_URL=redis://redis:6379/0", "-v", f"{broken}:/srv/project/mysite/wsgi.py:ro"),
        *("-e", f"DJANGO_SECRET_KEY={production.environment['DJANGO_SECRET_KEY']}"),
        *("-e", "DJANGO_ALLOWED_HOSTS=localhost"),
        production.image,
    )
    yield name
    docker("rm", "--force", "--volumes", name)


@pytest.fixture(scope="module")
def uwsgi_and_gunicorn(production: Stack) -> Iterator[Stack]:
    """Run server2 of the production stack with gunicorn, and restore uWSGI afterwards."""
    production.compose("up", "--detach", "--wait", "--no-deps", SERVER, environment=GUNICORN)
    try:
        production.wait_for_both()
        yield production
    finally:
        production.compose("up", "--detach", "--wait", "--no-deps", SERVER)
        production.wait_for_both()


@pytest.fixture(scope="module")
def answers(uwsgi_and_gunicorn: Stack) -> dict[str, Any]:
    """Return the responses of both servers to each case: status, headers, body."""
    output = uwsgi_and_gunicorn.run_in("server1", "python", "-c", ASK, json.dumps(CASES))
    responses: dict[str, Any] = json.loads(output.splitlines()[-1])
    return responses


def minutes_after(date: str, moment: str) -> str:
    """Return the time from `date` to `moment` in minutes, so that a second does not matter."""
    distance = parsedate_to_datetime(moment) - parsedate_to_datetime(date)
    return f"{round(distance.total_seconds() / 60)} min"


def comparable(answer: list[Any]) -> list[Any]:
    """Return a response without parts that differ between servers or requests."""
    status, headers, body = answer
    own = {"date", "etag", "last-modified", "set-cookie"}
    date = dict(headers)["Date"]
    kept = [
        # The order of the parts of the policy differs between processes.
        [name, sorted((minutes_after(date, value) if name == "Expires" else value).split("; "))]
        for name, value in headers
        if name.lower() not in own
    ]
    return [status, kept, body.replace("set2", "set1")]


@pytest.mark.parametrize("case", CASES)
def test_gunicorn_and_uwsgi_give_the_same_response(answers: dict[str, Any], case: str) -> None:
    uwsgi, gunicorn = answers[case]

    assert comparable(gunicorn) == comparable(uwsgi)


def test_parity_cases_have_the_expected_status(answers: dict[str, Any]) -> None:
    """Otherwise both could give the same wrong response."""
    status = {name: uwsgi[0] for name, (uwsgi, _) in answers.items()}

    assert status == EXPECTED_STATUS
    assert [json.loads(body)["server"] for _, _, body in answers["slashes"]] == [*("set1", "set2")]


def test_server_runs_gunicorn_instead_of_uwsgi(uwsgi_and_gunicorn: Stack) -> None:
    assert "gunicorn:gunicorn_0" in uwsgi_and_gunicorn.run_in(SERVER, *SUPERVISORCTL, "status")
    assert not processes(uwsgi_and_gunicorn, "uwsgi", SERVER)
    workers = int(uwsgi_and_gunicorn.run_in(SERVER, "printenv", "WEB_CONCURRENCY"))
    assert len(processes(uwsgi_and_gunicorn, "gunicorn", SERVER)) == workers + 1
    assert uwsgi_and_gunicorn.in_service() == {"set1", "set2"}


@pytest.mark.parametrize(
    ("server", "program"),
    [("server1", "uwsgi:uwsgi_0"), ("server1", "nginx"), (SERVER, "gunicorn:gunicorn_0")],
)
def test_programs_hold_a_pipe_that_shows_supervisord_their_end(
    uwsgi_and_gunicorn: Stack, server: str, program: str
) -> None:
    """The other end of a pipe that the program keeps open is in supervisord."""
    pid = uwsgi_and_gunicorn.run_in(server, *SUPERVISORCTL, "pid", program).strip()
    beyond_2 = 'for fd in /proc/%s/fd/*; do [ "${fd##*/}" -le 2 ] || readlink "$fd" || true; done'
    own, supervisord, log = (
        set(uwsgi_and_gunicorn.run_in(server, "sh", "-c", command).split())
        for command in (beyond_2 % pid, beyond_2 % 1, "readlink /proc/1/fd/1 /proc/1/fd/2")
    )

    assert [one for one in own & supervisord - log if one.startswith("pipe:")], (own, supervisord)


def test_log_has_client_and_request_id(uwsgi_and_gunicorn: Stack) -> None:
    sent = [uwsgi_and_gunicorn.get("/nowhere/") for _ in range(4)]
    ids = {answer.headers["X-Request-ID"] for answer in sent}
    gateways = uwsgi_and_gunicorn.inspect(
        "haproxy", "{{range .NetworkSettings.Networks}}{{.Gateway}} {{end}}"
    )

    def lines() -> list[dict[str, Any]]:
        records = [
            json.loads(line)
            for line in uwsgi_and_gunicorn.logs(SERVER).splitlines()
            if line[:1] == "{"
        ]
        own = [line for line in records if line.get("request_id") in ids]
        nginx = [line for line in own if line.get("server") == "nginx"]
        return own if nginx and len(own) == 2 * len(nginx) else []

    for line in eventually(lines, seconds=15, what="a line of nginx and one of Django for each"):
        assert line["client"] in gateways.split(), line


def test_metrics_files_are_named_by_worker_number(uwsgi_and_gunicorn: Stack) -> None:
    """Counts then survive a worker, and the number of files does not grow."""
    names = uwsgi_and_gunicorn.run_in(SERVER, "sh", "-c", 'ls "$PROMETHEUS_MULTIPROC_DIR"').split()

    assert {name.rpartition("_")[2] for name in names} <= {"0.db", "1.db", "2.db"}
    assert {"counter_1.db", "counter_2.db"} <= set(names)


def test_killed_master_is_restarted_without_orphans(uwsgi_and_gunicorn: Stack) -> None:
    def master() -> int:
        return int(uwsgi_and_gunicorn.run_in(SERVER, *SUPERVISORCTL, "pid", "gunicorn:gunicorn_0"))

    def has_one_master() -> bool:
        parents = processes(uwsgi_and_gunicorn, "gunicorn", SERVER)
        new = master()
        return (
            new not in (0, killed) and parents.pop(new, 0) == 1 and set(parents.values()) == {new}
        )

    killed = master()
    clients = [Client(repeat(Request("GET", "/profile/")), interval=0.05) for _ in range(4)]
    with Load(uwsgi_and_gunicorn.http_port, clients) as load:
        load.warm_up()
        uwsgi_and_gunicorn.run_in(SERVER, "sh", "-c", f"kill -9 {killed}")
        eventually(has_one_master, seconds=30, what="one master and its own workers")
        load.wait_until_all_are_served()
    assert not load.failed, load.summary()


def test_stopping_the_gunicorn_server_fails_no_request(uwsgi_and_gunicorn: Stack) -> None:
    clients = [
        Client(repeat(Request("GET", "/profile/")), keep_alive=number % 2 == 0, interval=0.1)
        for number in range(12)
    ]
    with Load(uwsgi_and_gunicorn.http_port, clients) as load:
        load.warm_up()
        uwsgi_and_gunicorn.stop(SERVER, environment=GUNICORN)
        load.wait_until_all_are_served()
        assert uwsgi_and_gunicorn.in_service() == {"set1"}
        uwsgi_and_gunicorn.compose(
            "up", "--detach", "--wait", "--no-deps", SERVER, environment=GUNICORN
        )
        uwsgi_and_gunicorn.wait_for_both()

    assert len(load.outcomes) > 300, load.summary()
    assert not load.failed, load.summary()
    order = stop_order(uwsgi_and_gunicorn.logs(SERVER))
    assert order[-4:-2] == ["drain", "nginx"]
    assert set(order[-2:]) == {"gunicorn_0", "gunicorn_1"}


def test_container_ends_when_gunicorn_cannot_load_the_application(failing_container: str) -> None:
    assert_container_ends(failing_container, "gunicorn", "not today")
