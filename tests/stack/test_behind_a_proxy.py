"""A stack behind a proxy that ends TLS: TRUSTED_PROXIES, from HAProxy to Django."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import requests

from tests.stack.compose import Stack, docker
from tests.stack.front import VISITORS, Front, front, wait_for
from tests.stack.test_identity import MISSING, trace
from tests.stack.tls import FOLDER, make_certificate, start_balancer

HSTS = "Strict-Transport-Security"
LOGIN = "/accounts/login/"
IPV6 = Path("/proc/net/if_inet6").exists()
REQUEST = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], 8080)
connection.request("GET", "/nowhere/", headers={"Host": "localhost"})
print(connection.sock.getsockname()[0], connection.getresponse().headers["X-Request-ID"])
"""


@pytest.fixture(scope="module")
def proxy(production: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Run a proxy in front of the production stack, which trusts its address."""
    if not (production.tree / FOLDER).exists():
        make_certificate(production)
    plain = dict(production.environment)
    name, network = f"{production.project}-front", f"{production.project}_front"
    folder = tmp_path_factory.mktemp("front")
    with front(name, network, "haproxy:8080", production.tree, folder) as running:
        production.environment |= {"TRUSTED_PROXIES": running.address}
        if IPV6:
            # With it, since each start of HAProxy takes seconds.
            production.environment |= {"HTTP_IPV6_ADDRESS": "[::1]"}
        try:
            start_balancer(production)
            wait_for(running)
            yield running
        finally:
            production.environment = plain
    start_balancer(production)


def visitor(proxy: Front) -> httpx.Client:
    """Return a client that speaks HTTP/2."""
    return httpx.Client(http2=True, verify=proxy.ssl_context(), timeout=30)


@pytest.mark.parametrize("family", VISITORS)
def test_all_logs_have_the_address_of_the_visitor(
    production: Stack, proxy: Front, family: str
) -> None:
    with visitor(proxy) as client:
        answer = client.get(proxy.url(family, MISSING), headers={"X-Forwarded-For": "6.6.6.6"})

    assert (answer.status_code, answer.http_version) == (404, "HTTP/2")
    lines = trace(production, answer.headers["X-Request-ID"])
    assert {line["client"] for line in lines.values()} == {VISITORS[family]}


def test_forms_are_accepted_over_https_of_the_proxy(proxy: Front) -> None:
    """Django takes the request for https: HSTS, secure cookies, and the Origin of browsers."""
    url = proxy.url("IPv4", LOGIN)
    with visitor(proxy) as client:
        page = client.get(url)
        (cookie,) = [cookie for cookie in client.cookies.jar if cookie.name == "csrftoken"]
        origin = f"https://{urlsplit(url).netloc}"
        headers = {"Origin": origin, "Referer": url, "X-CSRFToken": cookie.value or ""}
        sent = client.post(url, data={"username": "x", "password": "y"}, headers=headers)

    assert page.headers[HSTS].startswith("max-age=3600")
    assert cookie.secure
    assert sent.status_code == 200


def test_sign_in_is_limited_for_each_visitor(production: Stack, proxy: Front) -> None:
    """THROTTLE_LOGIN is 20/minute; the other family's address is another visitor's."""

    def attempts(family: str, count: int) -> set[int]:
        with visitor(proxy) as client:
            data = {"username": "unknown", "password": "x"}
            url = proxy.url(family, "/api/token/")
            return {client.post(url, data=data).status_code for _ in range(count)}

    assert attempts("IPv4", 21) == {400, 429}
    assert attempts("IPv6", 1) == {400}


def test_headers_of_other_clients_are_still_ignored(production: Stack, proxy: Front) -> None:
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}
    answer: requests.Response = production.get(MISSING, headers=forged)

    assert HSTS not in answer.headers
    clients = {
        line["client"] for line in trace(production, answer.headers["X-Request-ID"]).values()
    }
    assert len(clients) == 1 and "6.6.6.6" not in clients


@pytest.mark.skipif(not IPV6, reason="this machine has no IPv6")
@pytest.mark.usefixtures("proxy")
def test_visitor_by_ipv6_keeps_its_address(production: Stack) -> None:
    """HTTP_IPV6_ADDRESS: the site answers on the host's IPv6 address, and logs that of visitors."""
    local = requests.get(f"http://[::1]:{production.http_port}/livez", timeout=10)
    assert local.status_code == 200

    network = f"{production.project}_visitors"
    template = f'{{{{(index .NetworkSettings.Networks "{network}").GlobalIPv6Address}}}}'
    haproxy = production.inspect("haproxy", template).strip()
    own, request_id = docker(
        *("run", "--rm", "--network", network, "--entrypoint", "python3", production.image),
        *("-c", REQUEST, haproxy),
    ).split()

    lines = trace(production, request_id)
    assert ":" in own
    assert {line["client"] for line in lines.values()} == {own}
