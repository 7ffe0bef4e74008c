"""Balancing methods of HAProxy and nginx, and nginx as the balancer under load."""

import http.client
import json
import re
import select
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress

import pytest

from tests.chaos.conftest import check_nothing_lost
from tests.chaos.load import Load, mixed_clients
from tests.chaos.reliability import Figures
from tests.ports import free_port
from tests.stack import test_errors
from tests.stack.bench import shared
from tests.stack.compose import Stack, docker
from tests.waiting import eventually
from tools.stackctl.balancer.haproxy import CONFIG

REQUESTS = 300
# Health checks that may run during these requests on a busy machine.
CHECKS = 4
# limit_conn in variants/nginx-balancer/nginx.conf.
LONG_BODIES = 20
# Client addresses in different /24 networks, since ip_hash of nginx uses the first three octets.
CLIENTS = [f"127.0.{number}.1" for number in range(1, 31)]
REQUEST_FROM_CLIENTS = """
import http.client, json, sys
port, count, *clients = sys.argv[1:]
servers = {}
for client in clients:
    for number in range(int(count)):
        # Every other request has a long body, which HAProxy sends to another backend.
        body = bytes(20_000 * (number % 2)) or None
        connection = http.client.HTTPConnection("127.0.0.1", int(port), source_address=(client, 0))
        connection.request("GET", "/profile/", body, {"Host": "localhost"})
        servers.setdefault(client, []).append(json.load(connection.getresponse())["server"])
        connection.close()
print(json.dumps(servers))
"""


def ask(port: int, count: int) -> list[str]:
    """Request /profile/ repeatedly; return the servers that answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    servers = []
    for _ in range(count):
        connection.request("GET", "/profile/")
        servers.append(json.load(connection.getresponse())["server"])
    connection.close()
    return servers


def request_from_clients(stack: Stack, balancer: str, port: int) -> dict[str, list[str]]:
    """Send requests to a balancer from each client address; return the servers that answered."""
    count = str(REQUESTS // len(CLIENTS))
    answers = docker(
        *("run", "--rm", "--network", f"container:{balancer}", "--entrypoint", "python"),
        *(image_of(stack), "-c", REQUEST_FROM_CLIENTS, str(port), count, *CLIENTS),
    )
    servers: dict[str, list[str]] = json.loads(answers)
    return servers


def image_of(stack: Stack) -> str:
    """Return the image that the stack's servers run."""
    return stack.inspect("server1", "{{.Config.Image}}")


@contextmanager
def haproxy(stack: Stack, balance: str) -> Iterator[tuple[str, int]]:
    """Run another HAProxy in front of the servers; yield its container and port."""
    name, port = f"{stack.project}-{balance}", free_port()
    docker(
        *("run", "--detach", "--name", name, "--network", f"{stack.project}_front"),
        *("--publish", f"127.0.0.1:{port}:8080", "--volume", f"{stack.tree}/haproxy:/config:ro"),
        *("--tmpfs", "/var/lib/haproxy:uid=99,gid=99", "--env", f"HAPROXY_BALANCE={balance}"),
        *("--env", "WEB_CONCURRENCY=2", "--env", "STATS_USER=u", "--env", "STATS_PASSWORD=p"),
        *shared(stack.tree),
        *("--entrypoint", "/config/start", "haproxy:3.0", "docker-entrypoint.sh"),
        *("haproxy", "-f", f"/config/{CONFIG.rpartition('/')[2]}"),
    )
    try:
        eventually(lambda: is_up(port), seconds=30, what=f"HAProxy answers: {balance}")
        yield name, port
    finally:
        docker("rm", "--force", name)


@contextmanager
def nginx(stack: Stack, method: str) -> Iterator[tuple[str, int]]:
    """Run nginx as the balancer; yield its container and port."""
    port = free_port()
    chosen = {"NGINX_BALANCER": "1", "NGINX_BALANCE": method, "NGINX_BALANCER_PORT": str(port)}
    try:
        stack.compose(
            *("up", "--detach", "--wait", "--no-deps", "nginx-balancer"), environment=chosen
        )
        yield stack.container("nginx-balancer"), port
    finally:
        stack.compose("rm", "--stop", "--force", "nginx-balancer", environment=chosen)


def is_up(port: int) -> bool:
    """Return whether a server answers through this port."""
    with suppress(http.client.HTTPException, ValueError, KeyError):
        return bool(ask(port, 2))
    return False


Balancer = Callable[[Stack, str], AbstractContextManager[tuple[str, int]]]
BALANCERS: dict[str, Balancer] = {
    "roundrobin": haproxy,
    "leastconn": haproxy,
    "source": haproxy,
    "round_robin": nginx,
    "least_conn": nginx,
    "ip_hash": nginx,
}


@pytest.mark.parametrize("method", ["roundrobin", "round_robin"])
def test_round_robin_distributes_requests_evenly(loaded: Stack, method: str) -> None:
    with BALANCERS[method](loaded, method) as (_, port):
        counts = Counter(ask(port, REQUESTS))
    assert counts.keys() == {"set1", "set2"}
    # The health check of nginx's container also goes through the balancer, every 5 s.
    allowed = CHECKS if BALANCERS[method] is nginx else 0
    assert abs(counts["set1"] - counts["set2"]) <= allowed, counts


@pytest.mark.parametrize("method", ["leastconn", "least_conn"])
def test_leastconn_prefers_the_idle_server(loaded: Stack, method: str) -> None:
    with BALANCERS[method](loaded, method) as (_, port):
        idle = Counter(ask(port, REQUESTS))
        assert idle.keys() == {"set1", "set2"}

        slow = threading.Thread(target=occupy_server, args=(port, 6))
        slow.start()
        # Round robin would use both.
        eventually(
            lambda: len(set(ask(port, 20))) == 1, seconds=5, what="requests avoid the busy server"
        )
        assert slow.is_alive()
        slow.join()


def occupy_server(port: int, seconds: int) -> None:
    """Occupy a server with one slow request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", f"/loadtest/slow/{seconds * 1000}")
    connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize(("method", "port"), [("source", 8080), ("ip_hash", 8090)])
def test_source_hash_keeps_a_client_on_one_server(loaded: Stack, method: str, port: int) -> None:
    with BALANCERS[method](loaded, method) as (balancer, _):
        servers = request_from_clients(loaded, balancer, port)

    assert sum(map(len, servers.values())) == REQUESTS
    assert {client: len(set(names)) for client, names in servers.items()} == dict.fromkeys(
        CLIENTS, 1
    )
    assert {names[0] for names in servers.values()} == {"set1", "set2"}


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("HAPROXY_BALANCE", "roundrobin, leastconn, source"),
        ("NGINX_BALANCE", "round_robin, least_conn, ip_hash"),
    ],
)
def test_env_check_names_a_wrong_balance_method_and_the_allowed_ones(
    loaded: Stack, name: str, allowed: str
) -> None:
    """Every other container waits for env-check."""
    answer = loaded.compose(
        *("run", "--rm", "--no-deps", "env-check"), environment={name: "randem"}, check=False
    )

    assert answer.returncode != 0
    assert name in answer.stdout and f"Use one of: {allowed}" in answer.stdout


@pytest.fixture
def balanced(loaded: Stack) -> Iterator[tuple[str, int]]:
    """Start nginx as the balancer."""
    with nginx(loaded, "round_robin") as nginx_and_port:
        yield nginx_and_port


def test_stopping_a_server_behind_nginx_balancer_fails_no_request(
    loaded: Stack, balanced: tuple[str, int], static: str, figures: Figures
) -> None:
    _, port = balanced
    load = Load(port, mixed_clients(static))
    with load:
        load.warm_up()
        loaded.stop("server2")
        load.wait_until_all_are_served()
        assert set(ask(port, 10)) == {"set1"}
        loaded.compose("up", "--detach", "--wait", "--no-deps", "server2")
        eventually(lambda: "set2" in ask(port, 10), seconds=20, what="server2 gets requests again")

    figures.add(
        "nginx as the balancer: `docker compose stop server2`, then start", "0 failed", load
    )
    check_nothing_lost(load, loaded)


def test_nginx_balancer_follows_a_server_to_a_new_address(
    loaded: Stack, balanced: tuple[str, int], static: str, figures: Figures
) -> None:
    _, port = balanced
    before = address(loaded, "server2")
    load = Load(port, mixed_clients(static))
    with load, occupied_address(loaded) as take_address:
        load.warm_up()
        loaded.compose("rm", "--stop", "--force", "server2")
        take_address()
        loaded.compose("up", "--detach", "--wait", "--no-deps", "server2")
        assert address(loaded, "server2") != before
        eventually(lambda: "set2" in ask(port, 10), seconds=20, what="server2 gets requests")
    loaded.wait_for_both()

    figures.add("nginx as the balancer: server2 recreated at another address", "0 failed", load)
    check_nothing_lost(load, loaded)


def address(stack: Stack, service: str) -> str:
    """Return the address of a service in the network of the balancers."""
    network = f'(index .NetworkSettings.Networks "{stack.project}_front")'
    return stack.inspect(service, f"{{{{{network}.IPAddress}}}}")


@contextmanager
def occupied_address(stack: Stack) -> Iterator[Callable[[], None]]:
    """Yield a function that starts a container, which takes the lowest free address."""
    name = f"{stack.project}-in-its-place"

    def start() -> None:
        docker(
            *("run", "--detach", "--name", name, "--network", f"{stack.project}_front"),
            *("--entrypoint", "sleep", image_of(stack), "infinity"),
        )

    try:
        yield start
    finally:
        with suppress(Exception):
            docker("rm", "--force", name)


def test_nginx_balancer_ignores_forwarding_headers_of_clients(
    loaded: Stack, balanced: tuple[str, int]
) -> None:
    container, port = balanced
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
        "X-Request-ID": "chosen-by-the-client",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/profile/", headers=forged)
    answer = connection.getresponse()
    identity = ",".join(answer.headers.get_all("X-Request-ID", []))

    assert re.fullmatch(r"[0-9a-f]{32}", identity)
    lines = eventually(
        lambda: [
            json.loads(line)
            for service in ("server1", "server2")
            for line in loaded.logs(service).splitlines()
            if identity in line and line.startswith("{")
        ],
        seconds=10,
        what="the server's log has the id",
    )
    assert "203.0.113.9" not in json.dumps(lines)
    eventually(
        lambda: identity in docker("logs", container), seconds=5, what="nginx's log has the id"
    )


def test_nginx_balancer_refuses_a_too_large_body_in_json(balanced: tuple[str, int]) -> None:
    _, port = balanced
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/profile/", body=b"x" * 12_000_000)
    answer = connection.getresponse()

    assert answer.status == 413
    assert json.load(answer) == {"detail": "The request is too large: the limit is 10 MB."}


def test_nginx_balancer_forwards_the_cut_of_a_response(balanced: tuple[str, int]) -> None:
    _, port = balanced
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/loadtest/stream/1?fail")

    with pytest.raises(http.client.IncompleteRead):
        connection.getresponse().read()


def test_nginx_balancer_limits_concurrent_long_bodies(
    loaded: Stack, balanced: tuple[str, int]
) -> None:
    """Nginx keeps unfinished bodies in memory."""
    _, port = balanced
    with ExitStack() as unfinished:
        # They arrive in any order, so any one of them may be refused.
        started = [
            unfinished.enter_context(closing(begin_long_body(port))) for _ in range(LONG_BODIES + 1)
        ]
        refused = eventually(lambda: answered_early(started, 1), seconds=8, what="one is refused")
        assert len(refused) == 1
        answer = refused[0].getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert json.load(answer)["detail"].startswith("No server is free")
        # Other requests still succeed.
        assert set(ask(port, 10)) == {"set1", "set2"}
    eventually(lambda: accepts_long_body(port), seconds=20, what="a long body is accepted again")


def begin_long_body(port: int) -> http.client.HTTPConnection:
    """Start a request with a long body, and send one byte of it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("POST", "/profile/")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"x")
    return connection


def answered_early(
    connections: list[http.client.HTTPConnection], seconds: float
) -> list[http.client.HTTPConnection]:
    """Return connections that got a response before their body was complete, within `seconds`."""
    readable, _, _ = select.select([each.sock for each in connections], [], [], seconds)
    return [each for each in connections if each.sock in readable]


def accepts_long_body(port: int) -> bool:
    """Return whether nginx waits for the rest of a long body."""
    with closing(begin_long_body(port)) as connection:
        return not answered_early([connection], 1)


# Errors that nginx in each server also answers in JSON.
ERRORS = (
    *("malformed", "no host", "a large body", "a long address", "a large header", "an encoding"),
    *("a version", "no room for a body", "no application", "the error page itself"),
)


def test_nginx_balancer_answers_errors_in_json(loaded: Stack) -> None:
    """The balancer also starts when no server resolves yet."""
    name, port = f"{loaded.project}-alone", free_port()
    image = loaded.environment["STACK_NAME"] + "-base"
    docker(
        *("run", "--detach", "--name", name, "--publish", f"127.0.0.1:{port}:8090"),
        *("--user", "10001:10001", "--tmpfs", "/run/nginx-balancer:uid=10001,gid=10001"),
        *("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/srv/bodies:uid=10001,size=1m"),
        *(
            "--volume",
            f"{loaded.tree}/variants/nginx-balancer:/config:ro",
            "--env",
            "SERVER_COUNT=2",
        ),
        *shared(loaded.tree),
        *("--entrypoint", "/config/start", image),
    )
    try:
        status, body = eventually(lambda: request_once(port), seconds=20, what="nginx answers")
        assert status == 502
        assert json.loads(body)["detail"].startswith("The application did not answer")
        for case in ERRORS:
            request, expected = test_errors.CASES[case]
            status, headers, body = test_errors.ask(port, request)
            assert (status, headers["content-type"]) == (expected, "application/json"), case
            assert json.loads(body).keys() == {"detail"}
            assert headers["cache-control"] == "no-store" and headers["x-request-id"]
    finally:
        docker("rm", "--force", name)


def request_once(port: int) -> tuple[int, bytes]:
    """Send one request; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with suppress(http.client.RemoteDisconnected):
        connection.request("GET", "/profile/")
        answer = connection.getresponse()
        return answer.status, answer.read()
    raise OSError("nothing listens yet")


def test_nginx_balancer_runs_unprivileged_and_read_only(balanced: tuple[str, int]) -> None:
    container, _ = balanced
    status = docker("exec", container, "cat", "/proc/1/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert facts["Uid"].split()[0] != "0"
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert docker("inspect", "--format", "{{.HostConfig.ReadonlyRootfs}}", container) == "true"
