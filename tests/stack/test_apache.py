"""APACHE=1: Apache runs next to the servers, and clients see no difference to nginx."""

import http.client
import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests

from tests.chaos.load import Load
from tests.chaos.test_balancing import address, occupied_address
from tests.ports import free_port
from tests.stack.apache import (
    ask,
    checks_time_out,
    comparable,
    explain,
    log_records,
    port_of,
    servers_behind_apache,
    states,
    visitors,
    writers,
)
from tests.stack.compose import Stack, docker
from tests.stack.test_gunicorn import CASES as APPLICATION_CASES
from tests.stack.test_observability import SPELLINGS
from tests.stack.test_privileges import check_unprivileged
from tests.waiting import eventually

Case = tuple[str, str, dict[str, str], str]
# The health checks.
PROBES = ("/livez", "/readyz", "/healthz")
# {style} is the stylesheet of the status page, {old} one of an earlier release.
CASES: dict[str, Case] = {
    **APPLICATION_CASES,
    **{f"metrics as {path}": ("GET", path, {}, "") for path in SPELLINGS},
    **{path: ("GET", path, {}, "") for path in PROBES},
    "style": ("GET", "{style}", {}, ""),
    "style, gzip": ("GET", "{style}", {"Accept-Encoding": "gzip"}, ""),
    "style, brotli": ("GET", "{style}", {"Accept-Encoding": "gzip, deflate, br"}, ""),
    "style, head": ("HEAD", "{style}", {}, ""),
    "style, a part": ("GET", "{style}", {"Range": "bytes=10-19"}, ""),
    "style, posted": ("POST", "{style}", {}, "a=b"),
    "style, with a query": ("GET", "{style}?a=b", {}, ""),
    "style of an earlier release": ("GET", "{old}", {}, ""),
    "style of no release": ("GET", "/static/ops/status.0123456789ab.css", {}, ""),
    "a name without a hash": ("GET", "/static/ops/status.css", {}, ""),
    "a compressed file itself": ("GET", "{style}.gz", {}, ""),
    "folder": ("GET", "/static/ops/", {}, ""),
    "out of the folder": ("GET", "/static/../manage.py", {}, ""),
    "out of the folder, escaped": ("GET", "/static/%2e%2e/project/manage.py", {}, ""),
    "out of the root": ("GET", "/../etc/passwd", {}, ""),
    "media": ("GET", "/media/parity.html", {}, ""),
    "no such media": ("GET", "/media/none.png", {}, ""),
    "an authority's question": ("GET", "/.well-known/acme-challenge/none", {}, ""),
    "page of an error": ("GET", "/errors/413.json", {}, ""),
    "Apache's own page": ("GET", "/.apache/members", {}, ""),
    "a wild id": ("GET", "/profile/", {"X-Request-ID": 'a "wild" id'}, ""),
}
OLD = "/static/ops/old.fedcba987654.css"


@pytest.fixture(scope="module")
def with_apache(production: Stack) -> Iterator[Stack]:
    """Start the production stack with APACHE=1, and restore it afterwards."""
    before = dict(production.environment)
    production.environment |= {
        "APACHE": "1",
        "CSP_MODE": "report-only",
        # Long enough for the health checks of Apache too.
        "DRAIN_SECONDS": "4",
        "NGINX_PORT": str(free_port()),
        "APACHE_PORT": str(free_port()),
    }
    # Only the services that the variable changes; no second migration.
    start = ("up", "--detach", "--wait", "--no-deps", "server1", "server2", "haproxy")
    try:
        production.compose(*start, "apache")
        production.wait_for_both()
        yield production
    finally:
        production.compose("rm", "--stop", "--force", "apache")
        production.environment = before
        production.compose(*start)
        production.wait_for_both()
    # Without the variable, its container, ports and server in HAProxy are removed.
    assert production.container("apache") == ""
    assert not json.loads(production.inspect("server1", "{{json .HostConfig.PortBindings}}"))
    assert "apache" not in {row["svname"] for row in production.statistics()}


@pytest.fixture(scope="module")
def paths(with_apache: Stack) -> dict[str, str]:
    """Create the files of the cases, and return their paths."""
    # Only `migrate` may write there.
    write = f"echo 'p {{}}' >/srv/kept{OLD}"
    with_apache.compose("run", "--rm", "--no-deps", "--entrypoint", "sh", "migrate", "-c", write)
    with_apache.run_in("server1", "sh", "-c", "echo '<p>' > /srv/media/parity.html")
    match = re.search(
        r'href="(/static/ops/status\.[0-9a-f]{12}\.css)"', with_apache.get("/status/").text
    )
    assert match
    return {"style": match[1], "old": OLD}


@pytest.fixture(scope="module")
def answers(with_apache: Stack, paths: dict[str, str]) -> dict[str, list[Any]]:
    """Return the responses of nginx and Apache to each case: status, headers, body."""
    responses: dict[str, list[Any]] = {}
    for name, (method, path, headers, body) in CASES.items():
        for key, text in paths.items():
            path = path.replace(f"{{{key}}}", text)
        responses[name] = [
            ask(port_of(with_apache, server), method, path, headers, body)
            for server in ("NGINX", "APACHE")
        ]
    return responses


@pytest.mark.parametrize("case", CASES)
def test_apache_and_nginx_give_the_same_response(answers: dict[str, list[Any]], case: str) -> None:
    nginx, apache = answers[case]

    assert comparable(apache) == comparable(nginx)


def test_parity_cases_have_the_expected_status_and_headers(answers: dict[str, list[Any]]) -> None:
    """Otherwise both could give the same wrong response."""
    status = {name: apache[0] for name, (_, apache) in answers.items() if name not in PROBES}
    headers = {name: dict(apache[1]) for name, (_, apache) in answers.items()}

    assert {name for name, code in status.items() if code == 200 and "metrics" in name} == set()
    expected = {
        **{"style": 200, "style, gzip": 200, "style, a part": 206},
        **{"style, posted": 405, "style of no release": 404, "too large": 413, "media": 200},
        **{"folder": 403, "out of the root": 400, "Apache's own page": 404},
    }
    assert {name: status[name] for name in expected} == expected
    for name, coding in {"style, gzip": "gzip", "style, brotli": "br"}.items():
        assert headers[name]["content-encoding"] == [coding]
    for name in ("style", "style of an earlier release"):
        assert "immutable" in headers[name]["cache-control"]
        assert headers[name]["x-content-type-options"] == ["nosniff"]
    assert headers["style of no release"]["cache-control"] == ["no-store"]
    # CSP_MODE is report-only; media files stay in a sandbox.
    assert {"content-security-policy-report-only"} <= set(headers["not found"])
    assert not {"content-security-policy"} & set(headers["not found"])
    assert "sandbox" in headers["media"]["content-security-policy"]


def test_apache_sends_the_same_headers_as_nginx_for_each_file_type(with_apache: Stack) -> None:
    listed = with_apache.run_in("server1", "sh", "-c", "cd /srv/static && find . -type f").split()
    hashed = re.compile(r"\.(/.+\.[0-9a-f]{12}\.(\w+))")
    kinds = {match[2]: match[1] for match in map(hashed.fullmatch, listed) if match}
    kinds = {kind: path for kind, path in kinds.items() if kind not in ("gz", "br")}

    assert {"css", "js", "svg"} <= set(kinds)
    headers_by_server = {
        server: {
            path: comparable(ask(port_of(with_apache, server), "HEAD", f"/static{path}", {}, ""))
            for path in kinds.values()
        }
        for server in ("NGINX", "APACHE")
    }
    assert headers_by_server["APACHE"] == headers_by_server["NGINX"]


@pytest.mark.parametrize("server", ["NGINX", "APACHE"])
def test_conditional_request_for_a_static_file_gets_304(
    with_apache: Stack, paths: dict[str, str], server: str
) -> None:
    url = f"http://127.0.0.1:{port_of(with_apache, server)}{paths['style']}"
    first = requests.get(url, timeout=10).headers
    for known in (
        {"If-None-Match": first["ETag"]},
        {"If-Modified-Since": first["Last-Modified"]},
    ):
        revalidated = requests.get(url, headers=known, timeout=10)
        assert (revalidated.status_code, revalidated.content) == (304, b"")
        assert revalidated.headers["Cache-Control"] == first["Cache-Control"]


def test_apache_serves_static_files_itself(with_apache: Stack, paths: dict[str, str]) -> None:
    for path in paths.values():
        answer = requests.get(
            f"http://127.0.0.1:{port_of(with_apache, 'APACHE')}{path}", timeout=10
        )
        assert answer.headers["Server"] == "Apache", path


@pytest.mark.parametrize("server", ["NGINX", "APACHE"])
def test_chunked_body_above_the_limit_gets_413(with_apache: Stack, server: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(with_apache, server), timeout=30)
    # The server answers and closes before it has the whole body.
    with suppress(OSError):
        connection.request(
            "POST", "/api/schema/", iter([b"x" * 1_000_000] * 12), {"Host": "localhost"}
        )
    answer = connection.getresponse()

    assert answer.status == 413
    assert "the limit is 10 MB" in json.load(answer)["detail"]


def test_body_below_the_limit_passes_apache(with_apache: Stack) -> None:
    """Django receives it, and refuses the anonymous user."""
    answer = requests.post(
        f"http://127.0.0.1:{port_of(with_apache, 'APACHE')}/api/schema/",
        data=b"x" * 10_000_000,
        timeout=30,
    )

    assert answer.status_code == 401


def test_haproxy_balances_between_apache_and_the_servers(
    with_apache: Stack, paths: dict[str, str]
) -> None:
    rows = {(row["pxname"], row["svname"]): row["status"] for row in with_apache.statistics()}
    assert rows["dynamic_backend", "apache"] == "UP"
    assert rows["static_backend", "apache"].startswith("UP")
    assert ("upload_backend", "apache") not in rows

    for path in ("/profile/", paths["style"]):
        sent = {with_apache.get(path).headers["X-Request-ID"] for _ in range(6)}

        def asked(sent: set[str] = sent) -> list[str]:
            records = [
                line for line in log_records(with_apache, "haproxy") if line["request_id"] in sent
            ]
            return sorted(line["upstream"] for line in records) if len(records) == 6 else []

        upstreams = eventually(asked, seconds=10, what="HAProxy has logged the requests")
        # Round robin.
        assert upstreams == ["apache"] * 2 + ["server1"] * 2 + ["server2"] * 2


def test_every_log_has_the_request_id_and_client_of_haproxy(with_apache: Stack) -> None:
    """HAProxy ignores the headers of the client."""
    forged = {"X-Request-ID": "chosen-by-the-client", "X-Forwarded-For": "203.0.113.9"}
    sent = {with_apache.get("/nowhere/", headers=forged).headers["X-Request-ID"] for _ in range(3)}

    def records_of_request() -> list[dict[str, Any]]:
        own = [
            line
            for service in ("haproxy", "apache", "server1", "server2")
            for line in log_records(with_apache, service)
            if line.get("request_id") in sent
        ]
        # Three lines each of HAProxy, nginx and Django, one of Apache.
        return own if len(own) >= 10 else []

    records = eventually(records_of_request, seconds=15, what="a line in each log")
    assert [line.get("server") for line in records].count("apache") == 1
    assert len({line["client"] for line in records}) == 1
    assert "203.0.113.9" not in json.dumps(records)
    assert "chosen-by-the-client" not in sent


def test_apache_keeps_a_valid_request_id_and_replaces_others(with_apache: Stack) -> None:
    given = {"kept": "an-id-of-mine", "made": 'a "wild" one', "made-too": ""}
    for path, identity in given.items():
        ask(port_of(with_apache, "APACHE"), "GET", f"/{path}/", {"X-Request-ID": identity}, "")

    def ids_by_path() -> dict[str, set[str]]:
        records = [
            line
            for service in ("apache", "server1", "server2")
            for line in log_records(with_apache, service)
            if line.get("server") in ("apache", "nginx")
        ]
        ids = {
            path: {line["request_id"] for line in records if line["path"] == f"/{path}/"}
            for path in given
        }
        both_logged = all(
            sum(line["path"] == f"/{path}/" for line in records) == 2 for path in given
        )
        return ids if both_logged else {}

    ids = eventually(ids_by_path, seconds=10, what="a line of Apache and one of nginx for each")
    assert ids["kept"] == {"an-id-of-mine"}
    (made,), (made_too,) = ids["made"], ids["made-too"]
    assert re.fullmatch("[0-9a-f]{32}", made) and re.fullmatch("[0-9a-f]{32}", made_too)
    assert made != made_too


def test_apache_runs_unprivileged_on_the_loopback_address(with_apache: Stack) -> None:
    ports = json.loads(with_apache.inspect("apache", "{{json .HostConfig.PortBindings}}"))

    check_unprivileged(with_apache, "apache")
    assert {bind["HostIp"] for binds in ports.values() for bind in binds} == {"127.0.0.1"}
    # It has no secrets, and no access to the database.
    assert with_apache.environment["DJANGO_SECRET_KEY"] not in with_apache.run_in("apache", "env")
    assert "backend" not in with_apache.inspect("apache", "{{json .NetworkSettings.Networks}}")


def test_drained_server_gets_no_request_through_apache(with_apache: Stack) -> None:
    with Load(port_of(with_apache, "APACHE"), visitors()) as load:
        load.warm_up()
        assert with_apache.ask("drain", "server1")["state"] == "drained"
        assert servers_behind_apache(with_apache) == {"set2"}
        # Apache does not count as a server, so server2 is the last one.
        with pytest.raises(AssertionError, match="last server in service"):
            with_apache.ask("drain", "server2")
        assert with_apache.ask("ready", "server1")["state"] == "ready"
        eventually(
            lambda: servers_behind_apache(with_apache) == {"set1", "set2"},
            seconds=10,
            what="both servers answer again",
        )

    assert len(load.outcomes) > 200, load.summary()
    assert not load.failed, explain(with_apache, load)


def test_apache_follows_a_server_to_a_new_address_without_failed_requests(
    with_apache: Stack,
) -> None:
    """A stopping server leaves Apache's list itself; then its name no longer resolves."""
    before = address(with_apache, "server2")
    with (
        Load(port_of(with_apache, "APACHE"), visitors()) as load,
        occupied_address(with_apache) as take_address,
    ):
        load.warm_up()
        with_apache.compose("rm", "--stop", "--force", "server2")
        take_address()
        load.wait_until_all_are_served()
        assert servers_behind_apache(with_apache) == {"set1"}
        with_apache.compose("up", "--detach", "--wait", "--no-deps", "server2")
        assert address(with_apache, "server2") != before
        eventually(
            lambda: "set2" in servers_behind_apache(with_apache),
            seconds=10,
            what="server2 answers again",
        )
    with_apache.wait_for_both()

    assert len(load.outcomes) > 300, load.summary()
    assert not load.failed, explain(with_apache, load)


def test_apache_skips_a_killed_server_at_once(with_apache: Stack) -> None:
    """A server that refuses the connection has not received the request."""
    port = port_of(with_apache, "APACHE")
    servers_behind_apache(with_apache)
    with Load(with_apache.http_port, writers()) as load:
        load.warm_up()
        docker("kill", with_apache.container("server2"))
        killed = time.monotonic()
        # Before a health check has failed.
        assert [ask(port, "POST", "/profile/", {}, "a=b")[0] for _ in range(6)] == [405] * 6
        assert servers_behind_apache(with_apache) == {"set1"}
        # Checks of an address without a server time out, one every two seconds.
        eventually(lambda: checks_time_out(with_apache), seconds=30, what="a check has timed out")
        load.over.wait(5)
        with_apache.compose("up", "--detach", "--wait", "--no-deps", "server2")
        with_apache.wait_for_both()

    # Only requests that server2 was processing may fail.
    assert not [outcome for outcome in load.failed if outcome.started > killed], explain(
        with_apache, load
    )


def test_apache_fails_no_request_after_it_resumes_from_a_hang(with_apache: Stack) -> None:
    """Requests after the hang succeed."""
    with Load(with_apache.http_port, writers()) as load:
        load.warm_up()
        with_apache.compose("pause", "apache")
        eventually(
            lambda: states(with_apache) == {"DOWN"}, seconds=20, what="HAProxy marks Apache as down"
        )
        with_apache.compose("unpause", "apache")
        ended = time.monotonic()
        eventually(
            lambda: states(with_apache) == {"UP"}, seconds=20, what="HAProxy marks Apache as up"
        )
        load.wait_until_all_are_served()

    assert not [outcome for outcome in load.failed if outcome.started > ended], explain(
        with_apache, load
    )


def test_restarting_apache_fails_no_request(with_apache: Stack) -> None:
    with Load(with_apache.http_port, visitors()) as load:
        load.warm_up()
        with_apache.compose("restart", "apache")
        load.wait_until_all_are_served()
        eventually(
            lambda: states(with_apache) == {"UP"}, seconds=20, what="HAProxy marks Apache as up"
        )

    assert not load.failed, explain(with_apache, load)
    log = with_apache.logs("apache")
    assert "caught SIGWINCH, shutting down gracefully" in log
