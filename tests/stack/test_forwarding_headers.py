"""Headers that name the client and the request: forged ones are replaced, others kept."""

import re
from collections.abc import Iterator

import pytest

from tests.stack.bench import PORTS, Bench, container
from tests.stack.compose import STACK_NAME, docker
from tests.stack.test_retries import echo, parsed

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


@pytest.fixture
def moving(bench: Bench) -> Iterator[None]:
    """Let nginx-balancer answer as it does around a reload for a server that has moved."""
    mark = "/run/nginx-balancer/moving"
    bench.exec("nginx-balancer", "touch", mark)
    try:
        yield
    finally:
        bench.exec("nginx-balancer", "rm", "-f", mark)


@pytest.mark.usefixtures("moving")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nginx_balancer_sets_the_same_headers_while_a_server_moves(
    bench: Bench, method: str
) -> None:
    """In a location of nginx one proxy_set_header would drop all inherited ones."""
    answer = bench.request(method, "nginx-balancer", "/echo", headers=FORGED)
    assert answer.status_code == 200, answer.text
    headers = parsed(answer.text)

    assert answer.headers["Connection"] == "close"
    assert headers["host"] == [f"127.0.0.1:{bench.ports['nginx-balancer']}"]
    check_forwarded(headers)


@pytest.mark.parametrize("proxy", ["haproxy", "nginx-balancer"])
def test_balancers_replace_forwarding_headers_of_clients(bench: Bench, proxy: str) -> None:
    text = "".join(f"{name}: {value}\r\n" for name, value in FORGED.items())

    # HAProxy balances between three servers, one of them Apache.
    for headers in [echo(bench.ports[proxy], text) for _ in range(6)]:
        check_forwarded(headers)


def check_forwarded(headers: dict[str, list[str]]) -> None:
    """Assert that a server received the balancer's headers, and none of a client."""
    forwarded = {
        name: headers[name] for name in headers if name.startswith(("x-f", "x-re", "forw"))
    }
    # HAProxy sends it to Apache; no server reads it.
    forwarded.pop("x-retry-on", None)
    assert set(forwarded) == SETS
    assert forwarded["x-forwarded-proto"] == ["http"]
    assert not set(FORGED.values()) & {value for values in forwarded.values() for value in values}


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


def test_nginx_sends_pages_of_slow_paths_the_same_headers(bench: Bench) -> None:
    """A location of their own, which inherits only what it does not set."""
    sent = {"X-Request-ID": "same-id-for-both", **FORGED}

    page, slow = (
        parsed(bench.get("nginx", path, headers=sent).text) for path in ("/echo", "/slow/echo")
    )

    assert page == slow


def test_nginx_joins_cookie_headers(bench: Bench) -> None:
    """Without this, uWSGI would keep only the last header, and the user would be signed out."""
    headers = echo(bench.ports["nginx"], "Cookie: sessionid=1\r\nCookie: csrftoken=2\r\n")

    assert headers["cookie"] == ["sessionid=1; csrftoken=2"]
