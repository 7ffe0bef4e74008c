"""TRUSTED_PROXIES and PROXY_PROTOCOL: what HAProxy believes, of whom, and what servers receive."""

import http.client
import json
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.stack.bench import NAME, Bench, container, shared
from tests.stack.compose import STACK_NAME, Stack, docker
from tests.stack.front import VISITORS, Front, front, wait_for
from tests.stack.tls import FOLDER, make_certificate
from tests.waiting import eventually

# Of proxies before the one that connects.
OTHERS = "10.1.0.0/16,2001:db8:1::/48"
PROXY = "10.1.2.3"
CLIENT = "203.0.113.7"


@pytest.fixture(scope="module")
def gateway(bench: Bench) -> str:
    """Return the address from which connections of this machine reach the containers."""
    return docker(
        "network", "inspect", "--format", "{{range .IPAM.Config}}{{.Gateway}}{{end}}", NAME
    ).strip()


@contextmanager
def haproxy(name: str, tree: Path, *options: str, **environment: str) -> Iterator[int]:
    """Run a HAProxy with these variables next to the bench's, and yield its port.

    Args:
        name: of its container.
        tree: the project.
        options: more options of `docker run`.
        environment: its variables.
    """
    port = free_port()
    values = {
        **{"HAPROXY_BALANCE": "roundrobin", "WEB_CONCURRENCY": "2", "SERVER_COUNT": "2"},
        **{"STATS_USER": "u", "STATS_PASSWORD": "p", **environment},
    }
    docker(
        *("run", "--detach", "--name", container(name), "--network", NAME),
        *("--network-alias", name, "--publish", f"127.0.0.1:{port}:8080"),
        *("--tmpfs", "/var/lib/haproxy:uid=99,gid=99", "--volume", f"{tree}/haproxy:/config:ro"),
        *(*shared(tree), *options),
        *(word for key, value in values.items() for word in ("--env", f"{key}={value}")),
        *("--entrypoint", "/config/start", "haproxy:3.0", "docker-entrypoint.sh"),
        *("haproxy", "-f", "/config/haproxy.cfg"),
    )
    try:
        eventually(lambda: has_a_server(name), seconds=20, what=f"{name} has a server")
        yield port
    finally:
        docker("rm", "--force", container(name))


def has_a_server(name: str) -> bool:
    """Return whether the health check of a HAProxy succeeds."""
    with suppress(subprocess.CalledProcessError):
        docker("exec", container(name), "/config/healthcheck")
        return True
    return False


@pytest.fixture(scope="module")
def proxied(bench: Bench, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Run a proxy in front of `trusting`."""
    if not (tree / FOLDER).exists():
        make_certificate(Stack(tree, "local"))
    folder = tmp_path_factory.mktemp("front")
    with front(container("front"), NAME, "trusting:8080", tree, folder) as running:
        yield running


@pytest.fixture(scope="module")
def nginx(bench: Bench, gateway: str, tree: Path) -> Iterator[int]:
    """Run nginx as a load balancer that trusts this machine and OTHERS; yield its port."""
    port, name = free_port(), container("trusting-nginx")
    docker(
        *("run", "--detach", "--name", name, "--network", NAME, "--user", "10001:10001"),
        *("--network-alias", "trusting-nginx", "--publish", f"127.0.0.1:{port}:8090"),
        *("--tmpfs", "/run/nginx-balancer:uid=10001,gid=10001", "--env", "SERVER_COUNT=2"),
        *("--volume", f"{tree}/variants/nginx-balancer:/config:ro", *shared(tree)),
        *("--env", f"TRUSTED_PROXIES={gateway},{OTHERS}", "--entrypoint", "/config/start"),
        f"{STACK_NAME}-base",
    )
    try:
        eventually(lambda: received(port), seconds=20, what="nginx reaches a server")
        yield port
    finally:
        docker("rm", "--force", name)


@pytest.fixture(scope="module")
def trusting(gateway: str, tree: Path, proxied: Front) -> Iterator[int]:
    """Run a HAProxy that trusts this machine, the proxy in front and OTHERS; yield its port."""
    trusted = f"{gateway},{proxied.address} , {OTHERS}"
    with haproxy("trusting", tree, TRUSTED_PROXIES=trusted) as port:
        yield port


def received(port: int, *lines: str, before: bytes = b"") -> dict[str, list[str]]:
    """Send a request with these header lines, and return the headers that the server receives."""
    request = "".join(f"{line}\r\n" for line in ("GET /echo HTTP/1.1", "Host: localhost", *lines))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(before + f"{request}\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return parsed(answer.read().decode())


def parsed(echoed: str) -> dict[str, list[str]]:
    """Return the headers of an echoed request by name."""
    headers: dict[str, list[str]] = {}
    for line in echoed.splitlines()[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return headers


NO_ADDRESSES = [
    *("localhost", "203.0.113", "203.0.113.256", "203.0.113.1000", "1.2.3.4.5", "1.2.3..4"),
    *(".1.2.3.4", "1.2.3.4.", "-1.2.3.4", "203.0.113.7/8", "203.0.113.7:x", "[203.0.113.7]"),
    *(
        '"203.0.113.7"',
        "203.0.113.7;6.6.6.6",
        "2001:db8::7%eth0",
        "::g",
        "2001:db8",
        "2001:db8:::7",
    ),
]
CLAIMS = [
    *((CLIENT, CLIENT), (f"6.6.6.6, {CLIENT}", CLIENT), (f"{CLIENT},{PROXY}", CLIENT)),
    ("203.0.113.255", "203.0.113.255"),
    (f"6.6.6.6, {CLIENT}, {PROXY}, 2001:db8:1::9", CLIENT),
    ("2001:db8::7", "2001:db8::7"),
    ("[2001:db8::7]:443", "2001:db8::7"),
    (f"{CLIENT}:50123", CLIENT),
    (f"{CLIENT}\r\nX-Forwarded-For: {PROXY}", CLIENT),
    (f"6.6.6.6\r\nX-Forwarded-For: {CLIENT}", CLIENT),
    pytest.param(", ".join([*["6.6.6.6"] * 900, CLIENT]), CLIENT, id="a long list"),
    # Proxies alone: the one that is farthest away.
    (f"{PROXY}, 10.1.2.4", PROXY),
    *((text, None) for text in ("", "unknown", "1.2.3.4.5")),
    # What is no address, and what is left of it, is not believed.
    (f"{CLIENT}, unknown, {PROXY}", PROXY),
    (f"{CLIENT}\r\nX-Forwarded-For: unknown, {PROXY}", PROXY),
    *((f"{text}, {PROXY}", PROXY) for text in NO_ADDRESSES),
]


@pytest.mark.parametrize("proxy", ["trusting", "nginx"])
@pytest.mark.parametrize(("claimed", "client"), CLAIMS)
def test_client_is_the_rightmost_address_that_is_no_trusted_proxy(
    request: pytest.FixtureRequest, gateway: str, proxy: str, claimed: str, client: str | None
) -> None:
    expected = [gateway if client is None else client]

    headers = received(request.getfixturevalue(proxy), f"X-Forwarded-For: {claimed}")

    assert headers["x-forwarded-for"] == expected
    assert headers["x-real-ip"] == expected


@pytest.mark.parametrize(
    ("claimed", "client"),
    [
        ("[2001:db8::7]", "2001:db8::7"),
        *((f"::{prefix}:{CLIENT}", CLIENT) for prefix in ("ffff", "FFFF")),
        (f"{CLIENT}, ", None),
        *((f"{text}, {PROXY}", PROXY) for text in ("03.0.113.7", f"{CLIENT} 6.6.6.6")),
    ],
)
def test_haproxy_reads_unusual_addresses_or_ignores_them(
    trusting: int, gateway: str, claimed: str, client: str | None
) -> None:
    headers = received(trusting, f"X-Forwarded-For: {claimed}")

    assert headers["x-forwarded-for"] == [gateway if client is None else client]


def test_each_request_of_a_connection_has_its_own_client(trusting: int, gateway: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", trusting, timeout=10)
    seen = []
    for claimed in ("203.0.113.1", "2001:db8::2", None):
        connection.request("GET", "/echo", headers={"X-Forwarded-For": claimed} if claimed else {})
        seen += parsed(connection.getresponse().read().decode())["x-forwarded-for"]

    assert seen == ["203.0.113.1", "2001:db8::2", gateway]


@pytest.mark.parametrize("networks", ["", " , "])
def test_a_list_without_networks_trusts_nobody(
    bench: Bench, gateway: str, tree: Path, networks: str
) -> None:
    with haproxy("distrusting", tree, TRUSTED_PROXIES=networks) as port:
        headers = received(port, f"X-Forwarded-For: {CLIENT}", "X-Forwarded-Proto: https")

    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ([gateway], ["http"])


@pytest.mark.parametrize("proxy", ["trusting", "nginx"])
@pytest.mark.parametrize(
    ("claimed", "scheme"),
    [
        *(("https", "https"), ("HTTPS", "https"), ("http, https", "https"), ("http", "http")),
        *(("https, http", "http"), ("on", "http"), ("https, ", "http"), ("", "http")),
        ("xhttps", "http"),
        ("http\r\nX-Forwarded-Proto: https", "https"),
    ],
)
def test_scheme_is_the_last_one_that_a_trusted_proxy_reports(
    request: pytest.FixtureRequest, proxy: str, claimed: str, scheme: str
) -> None:
    lines = (f"X-Forwarded-For: {CLIENT}", f"X-Forwarded-Proto: {claimed}")
    headers = received(request.getfixturevalue(proxy), *lines)

    assert headers["x-forwarded-proto"] == [scheme]


FROM_ELSEWHERE = """
import http.client, sys
asked = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]))
asked.request("GET", "/echo", headers={"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"})
sys.stdout.write(asked.getresponse().read().decode())
"""


def address_of(name: str) -> str:
    """Return the address of a container of the bench."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", template, container(name)).strip()


@pytest.mark.usefixtures("trusting", "protocol", "nginx")
@pytest.mark.parametrize(
    ("name", "port"), [("trusting", "8080"), ("protocol", "8080"), ("trusting-nginx", "8090")]
)
def test_forged_headers_from_elsewhere_are_dropped(bench: Bench, name: str, port: str) -> None:
    headers = parsed(bench.exec("server1", "python3", "-c", FROM_ELSEWHERE, name, port))

    assert headers["x-forwarded-for"] == headers["x-real-ip"] == [address_of("server1")]
    assert headers["x-forwarded-proto"] == ["http"]


def logged_client(name: str, path: str) -> str:
    """Return the client in HAProxy's log line of a path, which its second pass writes."""
    lines = docker("logs", container(name)).splitlines()
    records = [json.loads(line) for line in lines if line.startswith('{"time')]
    return "".join(record["client"] for record in records if record["path"] == path)


@pytest.mark.parametrize(("proxy", "name"), [("trusting", "trusting"), ("nginx", "trusting-nginx")])
def test_log_names_the_client_of_a_trusted_proxy(
    request: pytest.FixtureRequest, proxy: str, name: str
) -> None:
    url = f"http://127.0.0.1:{request.getfixturevalue(proxy)}/echo/logged"
    httpx.get(url, headers={"X-Forwarded-For": CLIENT})

    logged = eventually(
        lambda: logged_client(name, "/echo/logged"), seconds=10, what="the log line"
    )
    assert logged == CLIENT


@pytest.mark.parametrize("family", VISITORS)
def test_visitor_of_a_real_proxy_keeps_its_address_over_http2(
    trusting: int, proxied: Front, family: str
) -> None:
    """The proxy ends TLS and appends to X-Forwarded-For; the visitor invents the first entry."""
    wait_for(proxied)
    url = proxied.url(family, f"/echo/{family}")
    with httpx.Client(http2=True, verify=proxied.ssl_context()) as visitor:
        answer = visitor.get(url, headers={"X-Forwarded-For": "6.6.6.6"})

    assert answer.http_version == "HTTP/2"
    headers = parsed(answer.text)
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == [VISITORS[family]]
    assert headers["x-forwarded-proto"] == ["https"]
    assert (
        eventually(
            lambda: logged_client("trusting", f"/echo/{family}"), seconds=10, what="the log line"
        )
        == VISITORS[family]
    )


@pytest.fixture(scope="module")
def protocol(gateway: str, tree: Path, bench: Bench) -> Iterator[int]:
    """Run a HAProxy that expects the PROXY protocol of this machine; yield its port."""
    trusted = f"{gateway},{OTHERS}"
    with haproxy("protocol", tree, TRUSTED_PROXIES=trusted, PROXY_PROTOCOL="1") as port:
        yield port


def version1(client: str, port: int = 8080) -> bytes:
    """Return the header of version 1.

    https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
    """
    version = ip_address(client).version
    own = "::1" if version == 6 else "192.0.2.1"
    return f"PROXY TCP{version} {client} {own} 40000 {port}\r\n".encode()


def version2(client: str, port: int = 8080, tls: int | None = None) -> bytes:
    """Return the header of version 2, with the flags of PP2_TYPE_SSL if given."""
    address = ip_address(client)
    own = ip_address("::1" if address.version == 6 else "192.0.2.1")
    body = address.packed + own.packed + struct.pack("!HH", 40000, port)
    if tls is not None:
        body += struct.pack("!BHBI", 0x20, 5, tls, 0)
    family = 0x21 if address.version == 6 else 0x11
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, family, len(body)) + body


@pytest.mark.parametrize("client", [CLIENT, "2001:db8::7"])
@pytest.mark.parametrize("header", [version1, version2])
def test_proxy_protocol_gives_the_client_address(
    protocol: int, header: Callable[[str], bytes], client: str
) -> None:
    """Headers of that client are its own words."""
    forged = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https")
    headers = received(protocol, *forged, before=header(client))

    assert headers["x-forwarded-for"] == headers["x-real-ip"] == [client]
    assert headers["x-forwarded-proto"] == ["http"]


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        *((version1(CLIENT, 443), "https"), (version2(CLIENT, 443), "https")),
        *((version2(CLIENT, tls=1), "https"), (version2(CLIENT, tls=0), "http")),
        *((version2(CLIENT, tls=5), "https"), (version1(CLIENT, 80), "http")),
        # Of the flags, only the lowest bit says that there was TLS.
        (version2(CLIENT, tls=0x12), "http"),
    ],
)
def test_proxy_protocol_reports_tls_of_the_proxy(protocol: int, header: bytes, scheme: str) -> None:
    forged = "https" if scheme == "http" else "http"
    headers = received(protocol, f"X-Forwarded-Proto: {forged}", before=header)

    assert headers["x-forwarded-proto"] == [scheme]


@pytest.mark.parametrize(("port", "claimed"), [(8080, "HTTPS"), (443, "HTTP")])
def test_headers_of_a_trusted_proxy_before_that_of_the_proxy_protocol_count(
    protocol: int, port: int, claimed: str
) -> None:
    lines = ("X-Forwarded-For: 2001:db8::7", f"X-Forwarded-Proto: {claimed}")
    headers = received(protocol, *lines, before=version1(PROXY, port))

    assert headers["x-forwarded-for"] == ["2001:db8::7"]
    assert headers["x-forwarded-proto"] == [claimed.lower()]


def test_trusted_proxy_without_the_proxy_protocol_is_refused(protocol: int) -> None:
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        received(protocol)


SEND = """
import socket, sys
with socket.create_connection(("protocol", 8080), 10) as connection:
    connection.sendall(bytes.fromhex(sys.argv[1]))
    print(connection.recv(12).decode())
"""


@pytest.mark.parametrize("header", [version1(CLIENT), version2(CLIENT)], ids=["1", "2"])
def test_proxy_protocol_from_elsewhere_is_refused(
    bench: Bench, protocol: int, header: bytes
) -> None:
    sent = header + b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n"

    assert bench.exec("server1", "python3", "-c", SEND, sent.hex()).split() == ["HTTP/1.1", "400"]
