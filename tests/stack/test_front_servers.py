"""How the proxies handle requests and responses: headers, queueing, retries, stops."""

import http.client
import json
import re
import select
import socket
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests

from tests.ports import free_port
from tests.stack.bench import PORTS, SERVERS, Bench, container, shared
from tests.stack.compose import STACK_NAME, docker
from tests.stack.test_retries import echo
from tests.tree import ROOT
from tests.waiting import eventually
from tools.stackctl.balancer.apache import MEMBER

FORGED = {
    "Forwarded": "for=203.0.113.9",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "4443",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Ssl": "on",
    "X-Real-IP": "203.0.113.9",
    "X-Retry-On": "425",
}
SETS = {"x-forwarded-for", "x-forwarded-proto", "x-real-ip", "x-request-id"}


@pytest.mark.parametrize("proxy", ["haproxy", "nginx-balancer"])
def test_balancers_replace_forwarding_headers_of_clients(bench: Bench, proxy: str) -> None:
    text = "".join(f"{name}: {value}\r\n" for name, value in FORGED.items())

    # HAProxy balances between three servers, one of them Apache.
    for headers in [echo(bench.ports[proxy], text) for _ in range(6)]:
        forwarded = {
            name: headers[name] for name in headers if name.startswith(("x-f", "x-re", "forw"))
        }
        # HAProxy sends it to Apache; no server reads it.
        forwarded.pop("x-retry-on", None)
        assert set(forwarded) <= SETS
        assert forwarded["x-forwarded-proto"] == ["http"]
        assert not set(FORGED.values()) & {
            value for values in forwarded.values() for value in values
        }


# Sends requests from each address, which SIOCSIFADDR and SIOCSIFNETMASK add to the loopback.
REQUEST_FROM_ADDRESSES = """
import fcntl, http.client, socket, struct, sys
port, *clients = sys.argv[1:]
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number, client in enumerate(clients):
    for code, text in ((0x8916, client), (0x891C, "255.255.255.255")):
        name = b"lo:%d" % number
        fcntl.ioctl(
            control, code, struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(text))
        )
    asked = http.client.HTTPConnection("127.0.0.1", int(port), source_address=(client, 0))
    asked.request("GET", "/echo", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.9"})
    sent = asked.getresponse().read().decode().lower()
    print(client, *(line.split()[1] for line in sent.splitlines() if line.startswith("x-forw")))
"""
TRUSTED = ("127.0.0.9", "10.255.0.1", "172.16.0.9", "172.31.255.9", "192.168.255.9")
UNTRUSTED = ("11.0.0.1", "172.15.255.9", "172.32.0.1", "192.167.0.1", "192.169.0.1", "203.0.113.5")


@pytest.mark.parametrize("proxy", ["nginx", "apache"])
def test_x_forwarded_for_is_trusted_only_from_private_networks(bench: Bench, proxy: str) -> None:
    """Only the last address counts, since a client may have sent those before it."""
    output = docker(
        *("run", "--rm", "--network", f"container:{container(proxy)}", "--user", "0"),
        *("--cap-add", "NET_ADMIN", "--entrypoint", "python3", f"{STACK_NAME}-base"),
        *("-c", REQUEST_FROM_ADDRESSES, str(PORTS[proxy]), *TRUSTED, *UNTRUSTED),
    )
    clients = dict(line.split() for line in output.splitlines())

    assert clients == {**dict.fromkeys(TRUSTED, "203.0.113.9"), **{one: one for one in UNTRUSTED}}


# remove_beanstalk: begin
# The nginx of an instance, with the files that the bundle adds to its `http` block.
INSTANCE_NGINX = """
events {}
http {
    include /bundle/*.conf;
    server {
        listen 8000;
        return 200 "x-forwarded-for: $remote_addr";
    }
}
"""


def test_beanstalk_instance_trusts_x_forwarded_for_only_from_private_networks(bench: Bench) -> None:
    """The address range of a VPC can be any of them."""
    trusted, untrusted = TRUSTED[1:], (TRUSTED[0], *UNTRUSTED)
    output = docker(
        *("run", "--rm", "--user", "0", "--cap-add", "NET_ADMIN", "--entrypoint", "sh"),
        *("--volume", f"{ROOT / '.platform/nginx/conf.d'}:/bundle:ro", f"{STACK_NAME}-base"),
        *("-euc", 'echo "$0" >/tmp/nginx.conf; nginx -c /tmp/nginx.conf; python3 -c "$@"'),
        *(INSTANCE_NGINX, REQUEST_FROM_ADDRESSES, "8000", *trusted, *untrusted),
    )
    clients = dict(line.split() for line in output.splitlines())

    assert clients == {**dict.fromkeys(trusted, "203.0.113.9"), **{one: one for one in untrusted}}


# remove_beanstalk: end
@pytest.mark.parametrize("proxy", ["nginx", "apache"])
def test_servers_keep_valid_request_ids_and_replace_others(bench: Bench, proxy: str) -> None:
    kept = ("a" * 8, "Z9._-" + "b" * 59)
    invalid = ("", "a" * 7, "a" * 65, "with space", 'with"quote', "with/slash")

    def forwarded_id(identity: str) -> str:
        text = bench.get(proxy, "/echo", headers={"X-Request-ID": identity}).text
        (value,) = re.findall(r"(?im)^x-request-id: (.*?)\r?$", text)
        return value

    assert tuple(map(forwarded_id, kept)) == kept
    new_ids = [forwarded_id(identity) for identity in invalid]
    assert all(re.fullmatch("[0-9a-f]{32}", identity) for identity in new_ids)
    assert len(set(new_ids)) == len(invalid)


def test_nginx_joins_cookie_headers(bench: Bench) -> None:
    """Without this, uWSGI would keep only the last header, and the user would be signed out."""
    headers = echo(bench.ports["nginx"], "Cookie: sessionid=1\r\nCookie: csrftoken=2\r\n")

    assert headers["cookie"] == ["sessionid=1; csrftoken=2"]


def test_nginx_forwards_requests_after_one_without_a_response(bench: Bench) -> None:
    """After two failed tries nginx must not mark the application as down."""
    assert bench.get("nginx", "/page/unanswered").status_code == 502

    assert [bench.get("nginx", "/who").status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("proxy", PORTS)
def test_proxies_do_not_reveal_their_version(bench: Bench, proxy: str) -> None:
    answer = bench.get(proxy, "/who", headers={"Expect": "x", "Content-Length": "9" * 12})

    assert answer.status_code >= 400
    assert not re.search(r"\d", answer.headers.get("Server", "")), answer.headers


def test_apache_refuses_trace_requests(bench: Bench) -> None:
    answer = bench.request("TRACE", "apache", "/echo", headers={"Cookie": "secret"})

    assert answer.status_code == 405
    assert "secret" not in answer.text
    assert not [line for line in bench.received() if line.startswith("TRACE")]


def test_member_command_removes_and_restores_a_server_of_apache(bench: Bench) -> None:
    """`stackctl drain` and `ready` use it; without an argument it counts running requests."""
    try:
        assert bench.exec("apache", MEMBER, "server1", "off").strip() == "0"
        bench.wait_until_balanced("apache", "server2")
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(bench.get, "apache", "/sleep/2?member")
            eventually(
                lambda: bench.exec("apache", MEMBER, "server2").strip() == "1",
                seconds=5,
                what="server2 has a request",
            )
            assert slow.result().text == "slept"
    finally:
        bench.exec("apache", MEMBER, "server1", "on")
    bench.wait_until_balanced("apache", *SERVERS)


def test_request_of_a_client_that_leaves_the_queue_reaches_no_server(bench: Bench) -> None:
    """All slots are occupied: those of two servers, and those of Apache."""
    with ThreadPoolExecutor(8) as pool:
        busy = [pool.submit(bench.get, "haproxy", "/sleep/1") for _ in range(6)]
        eventually(
            lambda: sum("/sleep/1 " in line for line in bench.received()) >= 6,
            seconds=5,
            what="all slots are occupied",
        )
        with socket.create_connection(("127.0.0.1", bench.ports["haproxy"])) as leaving:
            leaving.sendall(b"GET /who/left HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert {one.result().status_code for one in busy} == {200}
    # A later request is served, so the first one would have been too.
    assert bench.get("haproxy", "/who/came").status_code == 200

    assert [line for line in bench.received() if "/who/left" in line] == []


@pytest.mark.parametrize("proxy", ["haproxy", "nginx-balancer", "apache"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_stopping_proxy_finishes_running_requests(bench: Bench, proxy: str, method: str) -> None:
    path = f"/sleep/2?{proxy}-{method}"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.request, method, proxy, path)
        eventually(
            lambda: any(path in line for line in bench.received()),
            seconds=5,
            what="it is running",
        )
        # The signal that Compose sends.
        signal = "SIGTERM" if proxy != "haproxy" else "SIGUSR1"
        docker("kill", "--signal", signal, container(proxy))
        assert running.result().text == "slept"
    try:
        # HAProxy's hard-stop-after also closes connections of earlier tests.
        eventually(lambda: has_ended(proxy), seconds=70, what=f"{proxy} has ended")
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container(proxy)) == "0"
    finally:
        docker("start", container(proxy))
    bench.wait_for_all()


def has_ended(service: str) -> bool:
    """Return whether a container has ended."""
    return docker("inspect", "--format", "{{.State.Running}}", container(service)) == "false"


def test_haproxy_keeps_connections_to_itself_only_for_repeatable_requests(bench: Bench) -> None:
    """A kept connection can close in the moment that a POST is sent."""

    def connections(backend: str) -> tuple[int, int]:
        (row,) = (
            row for row in bench.rows() if (row["pxname"], row["svname"]) == (backend, "itself")
        )
        return int(row["connect"]), int(row["reuse"])

    def added(method: str, backend: str) -> tuple[int, int]:
        new, kept = connections(backend)
        for _ in range(10):
            assert bench.request(method, "haproxy", "/echo").status_code == 200
        new_after, kept_after = connections(backend)
        return new_after - new, kept_after - kept

    assert added("GET", "retry_kept_backend")[1] >= 9
    assert added("POST", "retry_backend") == (10, 0)


def test_haproxy_logs_only_json_lines(bench: Bench) -> None:
    """A long path is truncated; a connection without a request is not logged."""
    before = len(bench.log("haproxy"))
    socket.create_connection(("127.0.0.1", bench.ports["haproxy"])).close()
    # The health check of its container, its stats page and its metrics are no visits.
    bench.exec("haproxy", "bash", "/config/healthcheck")
    bench.rows()
    bench.exec("haproxy", "bash", "-c", "echo GET / HTTP/1.0 >/dev/tcp/127.0.0.1/9145")
    path = f"/who/{'x' * 4000}"
    assert bench.get("haproxy", path).text in SERVERS

    def written() -> list[str]:
        return bench.log("haproxy")[before:]

    (line,) = eventually(written, seconds=5, what="the request is logged")
    logged = json.loads(line)["path"]
    assert path.startswith(logged) and len(logged) > 1000


@pytest.mark.parametrize("proxy", PORTS)
def test_access_logs_have_no_token_of_a_password_reset_link(bench: Bench, proxy: str) -> None:
    """Django's own path, and django-allauth's."""
    token = "cq8o2z-" + "0123456789abcdef" * 2
    for path in (f"/accounts/reset/MQ/{token}/", f"/password/reset/key/1-{token}/?next=/a"):
        bench.get(proxy, path)

    def logged() -> list[str]:
        # The test's own servers log in another form.
        lines = [line for line in bench.log(proxy) if line.startswith("{") and "reset" in line]
        assert len(lines) >= 2, lines
        return lines

    lines = eventually(logged, seconds=10, what="both requests are logged")
    paths = {json.loads(line)["path"] for line in lines}
    assert paths == {"/accounts/reset/MQ/***/", "/password/reset/key/1-***/"}
    assert token not in "".join(lines)


def test_haproxy_sends_a_server_at_most_one_request_per_worker(bench: Bench) -> None:
    """HAProxy queues the others; its three servers have two workers each."""
    with ThreadPoolExecutor(8) as pool:
        requests = [pool.submit(bench.get, "haproxy", "/sleep/0.7?limit") for _ in range(8)]
        answers = [one.result() for one in requests]
    assert {answer.status_code for answer in answers} == {200}
    ids = {answer.headers["X-Request-ID"] for answer in answers}

    def waits() -> list[int]:
        records = [json.loads(line) for line in bench.log("haproxy") if line.startswith('{"time')]
        queue_times = sorted(line["queue_ms"] for line in records if line["request_id"] in ids)
        return queue_times if len(queue_times) == 8 else []

    queue_times = eventually(waits, seconds=5, what="the requests are logged")
    assert sum(wait > 100 for wait in queue_times) == 2, queue_times


def drain(bench: Bench, server: str, status: str) -> None:
    """Have the probes of a scripted server answer with this status."""
    # The file appears whole.
    script = 'echo "$0" >/tmp/status; mv /tmp/status /tmp/drains'
    bench.exec(server, "sh", "-c", script, status)


@pytest.mark.parametrize("status", ["404 Not Found", "301 Moved Permanently"])
def test_server_whose_probe_does_not_answer_200_gets_no_new_request(
    bench: Bench, status: str
) -> None:
    """HAProxy and Apache return it to service when its probe succeeds again."""
    drain(bench, "server1", status)
    try:
        for proxy in ("haproxy", "apache"):
            bench.wait_until_balanced(proxy, "server2")
        # The backend of long bodies tracks the same health checks.
        uploads = [bench.request("POST", "haproxy", "/who", data=bytes(40_000)) for _ in range(4)]
        assert {answer.text for answer in uploads} == {"server2"}
    finally:
        bench.exec("server1", "rm", "/tmp/drains")
    bench.wait_for_all()


def test_long_bodies_use_the_upload_backend_and_static_files_refuse_them(bench: Bench) -> None:
    body = bytes(40_000)
    assert bench.request("POST", "haproxy", "/who", data=body).status_code == 200
    refused = bench.request("POST", "haproxy", "/static/who", data=body)
    assert refused.status_code == 413

    def backends() -> dict[str, str]:
        records = [json.loads(line) for line in bench.log("haproxy") if line.startswith('{"time')]
        return {r["path"]: r["backend"] for r in records if r["method"] == "POST"}

    eventually(
        lambda: backends().get("/who") == "upload_backend", seconds=5, what="the upload is logged"
    )


def test_long_bodies_go_to_the_server_with_the_fewest_uploads(bench: Bench) -> None:
    """Round robin would also use the server with the slow client."""
    head = b"POST /who/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", bench.ports["haproxy"])) as slow:
        slow.sendall(head + bytes(40_000))
        eventually(lambda: bench.uploads() == 1, seconds=5, what="it is running")
        others = {
            bench.request("POST", "haproxy", "/who", data=bytes(40_000)).text for _ in range(4)
        }
        slow.sendall(bytes(20_000))
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        slow_server = answer.read().decode()

    assert {slow_server, *others} == {*SERVERS} and len(others) == 1


def test_haproxy_sends_a_server_at_most_ten_long_bodies(bench: Bench) -> None:
    """The others wait for the queue's time."""
    head = b"POST /who/ten HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
    with ExitStack() as opened:
        clients = [
            opened.enter_context(
                socket.create_connection(("127.0.0.1", bench.ports["haproxy"]), timeout=20)
            )
            for _ in range(10 * len(SERVERS) + 3)
        ]
        for client in clients:
            client.sendall(head + bytes(40_000))
        refused, _, _ = select.select(clients, [], [], 20)
        eventually(
            lambda: len(select.select(clients, [], [], 0)[0]) == 3,
            seconds=5,
            what="three requests have left the queue",
        )
        assert bench.uploads() == 10 * len(SERVERS) and refused
        for client in clients:
            with suppress(OSError):
                client.sendall(bytes(20_000))
        statuses = Counter(client.recv(12) for client in clients)

    assert statuses == {b"HTTP/1.1 503": 3, b"HTTP/1.1 200": 10 * len(SERVERS)}


def test_source_hash_gives_a_client_one_server_for_pages_files_and_uploads(
    bench: Bench, tree: Path
) -> None:
    port, name = free_port(), container("by-source")
    docker(
        *("run", "--detach", "--name", name, "--network", bench.network),
        *("--publish", f"127.0.0.1:{port}:8080", "--tmpfs", "/var/lib/haproxy:uid=99,gid=99"),
        *("--volume", f"{tree}/haproxy:/config:ro", *shared(tree)),
        *("--env", "HAPROXY_BALANCE=source", "--env", "WEB_CONCURRENCY=2"),
        *("--env", "STATS_USER=u", "--env", "STATS_PASSWORD=p", "--entrypoint", "/config/start"),
        *("haproxy:3.0", "docker-entrypoint.sh", "haproxy", "-f", "/config/haproxy.cfg"),
    )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(
            lambda: requests.get(f"{url}/readyz", timeout=10).status_code == 200,
            seconds=20,
            what="HAProxy answers",
        )
        answers = [
            answer.text
            for _ in range(4)
            for answer in (
                requests.get(f"{url}/who", timeout=10),
                requests.post(f"{url}/who", timeout=10),
                requests.get(f"{url}/static/who", timeout=10),
                requests.post(f"{url}/who", data=bytes(40_000), timeout=10),
            )
        ]
    finally:
        docker("rm", "--force", name)

    assert len(set(answers)) == 1 and answers[0] in SERVERS


def test_haproxy_health_check_fails_when_no_server_is_up(bench: Bench) -> None:
    check = ["docker", "exec", container("haproxy"), "/config/healthcheck"]
    assert subprocess.run(check, check=False).returncode == 0
    for server in SERVERS:
        drain(bench, server, "404 Not Found")
    try:
        docker("stop", "--timeout", "0", container("apache"))
        eventually(
            lambda: subprocess.run(check, check=False, capture_output=True).returncode == 1,
            seconds=15,
            what="no server is up",
        )
    finally:
        for server in SERVERS:
            bench.exec(server, "rm", "/tmp/drains")
        docker("start", container("apache"))
    bench.wait_for_all()
    assert subprocess.run(check, check=False).returncode == 0


def test_balancers_retry_refused_connections_on_the_other_server(bench: Bench) -> None:
    """A server that refuses a connection has received nothing, so writes are retried too.

    Except through HAProxy with Apache, which times out once for each server that does not answer.
    """
    docker("stop", "--timeout", "0", container("server1"))
    try:
        sent = [("haproxy", "GET"), ("apache", "POST"), ("nginx-balancer", "POST")]
        # GETs use the relays of nginx, POSTs do not.
        sent.append(("nginx-balancer", "GET"))
        for proxy, method in sent:
            answers = [bench.request(method, proxy, f"/who/{n}").text for n in range(6)]
            assert answers == ["server2"] * 6, (proxy, method)
    finally:
        docker("start", container("server1"))
    bench.wait_for_all()


def test_haproxy_ends_requests_of_a_server_each_time_it_hangs(bench: Bench) -> None:
    """Others answer them long before `timeout server`."""
    for _ in range(2):
        docker("pause", container("server1"))
        try:
            with ThreadPoolExecutor(6) as clients:
                answers = list(
                    clients.map(lambda _: bench.get("haproxy", "/who", timeout=20).text, range(6))
                )
        finally:
            docker("unpause", container("server1"))
        assert set(answers) == {"server2"}
        eventually(
            lambda: bench.states() == {"UP"}, seconds=20, what="HAProxy marks all servers as up"
        )
    bench.wait_for_all()
