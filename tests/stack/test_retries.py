"""Retries of HAProxy, Apache and nginx as the balancer, and headers that clients forge."""

import http.client
import json
import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.stack.apache import ask
from tests.stack.bench import Bench, container
from tests.stack.compose import docker
from tools.stackctl.balancer.haproxy import Balancer


def test_requests_that_may_have_arrived_are_never_retried(bench: Bench) -> None:
    """Nor requests that got a 502, such as of a hanging page, which would hang the next worker."""
    once = {"apache": [("POST", "/order/apache")]}
    once["nginx-balancer"] = [("POST", "/order/nginx"), ("GET", "/hung/nginx")]
    once["haproxy"] = [("POST", f"/order/{number}") for number in range(6)]
    once["haproxy"] += [("GET", f"/hung/{number}") for number in range(6)]
    once["haproxy"] += [(method, f"/order/{method}") for method in ("PUT", "PATCH", "DELETE")]

    for proxy, sent in once.items():
        statuses = [ask(bench.ports[proxy], *what, {}, "")[0] for what in sent]
        assert set(statuses) == {502}, (proxy, statuses)

    received = [line for line in bench.received() if "/order/" in line or "/hung/" in line]
    expected = [f"{method} {path} HTTP/1.1" for sent in once.values() for method, path in sent]
    assert sorted(received) == sorted(expected)


@pytest.mark.parametrize("proxy", ["haproxy", "apache", "nginx-balancer"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_requests_without_a_response_keep_no_server_from_the_next_request(
    bench: Bench, proxy: str, method: str
) -> None:
    """Each server looks failed then; a balancer that leaves all alone answers 502 itself."""
    failed = [bench.request(method, proxy, "/closes").status_code for _ in range(6)]
    assert set(failed) == {502}

    assert {bench.request(method, proxy, "/who").status_code for _ in range(6)} == {200}


def test_haproxy_sends_no_write_of_a_hanging_server_to_another(bench: Bench) -> None:
    """hanging.lua ends its requests in the second pass; the first pass must not retry them."""
    docker("kill", "--signal", "STOP", container("server1"))
    try:
        with ThreadPoolExecutor(6) as pool:
            posted = [
                pool.submit(bench.request, "POST", "haproxy", f"/who/hang-{n}") for n in range(6)
            ]
            statuses = {one.result().status_code for one in posted}
    finally:
        docker("kill", "--signal", "CONT", container("server1"))
    bench.wait_for_all()

    received = Counter(line for line in bench.received() if "/who/hang-" in line)
    assert statuses == {200, 502}
    assert len(received) == 6 and set(received.values()) == {1}, received


def test_cut_response_of_a_server_is_cut_for_the_client(bench: Bench) -> None:
    # HAProxy balances between three servers, one of them Apache.
    for port in (bench.ports["apache"], *[bench.ports["haproxy"]] * 3):
        with pytest.raises(http.client.IncompleteRead):
            ask(port, "GET", "/cut", {}, "")


def test_haproxy_retries_a_page_without_a_response(bench: Bench) -> None:
    """Apache asks HAProxy for a retry with a status that no server uses."""
    status, headers, body = ask(bench.ports["apache"], "GET", "/page/1", {}, "")
    assert status == 502
    assert json.loads(body)["detail"].startswith("The application did not answer")
    assert dict(headers)["retry-after"] == ["5"]
    status, other_headers, same = ask(
        bench.ports["apache"], "GET", "/page/2", {"X-Retry-On": "425"}, ""
    )
    assert (status, same) == (425, body)
    assert dict(other_headers).keys() >= {"retry-after", "cache-control"}
    # Clients never receive that status.
    pages = [f"/page/{number}" for number in (3, 4, 5)]
    files = [f"/static{page}" for page in pages]
    statuses = {ask(bench.ports["haproxy"], "GET", path, {}, "")[0] for path in pages + files}
    assert statuses == {502}

    tries = Counter(line.split()[1] for line in bench.received())
    assert tries["/page/1"] == tries["/page/2"] == 1
    # Also after Apache's try.
    assert min(tries[page] for page in pages) >= 6
    # Apache's answer for a file is final.
    assert max(tries[file] for file in files) > 1


def test_clients_cannot_request_the_retry_status_of_apache(bench: Bench) -> None:
    """Also for static files, whose backend does not set the header."""
    forged = {"X-Retry-On": "425"}

    statuses = {ask(bench.ports["haproxy"], "GET", f"/static/{n}", forged, "")[0] for n in range(6)}

    assert statuses <= {502, 503}


FORGED = "203.0.113.9"
TRICKS = {
    "none": "",
    "one header": "Connection: X-Forwarded-For\r\n",
    "a list": "Connection: close, X-Forwarded-For,X-Request-ID , X-Real-IP\r\n",
    "several": "Connection: X-Request-ID\r\nConnection: keep-alive, x-forwarded-for\r\n",
    "not by a proxy": "Connection: Host, Content-Length, Authorization, X-Retry-On\r\n",
    "proto": "Connection: X-Forwarded-Proto, Keep-Alive\r\nX-Forwarded-Proto: https\r\n",
    "kept": "Keep-Alive: X-Forwarded-For\r\nConnection: keep-alive, X-Request-ID\r\n",
    "tabs": "cOnNeCtIoN:\tx-FORWARDED-for\t,\tX-Request-ID\r\n",
    "old": "Proxy-Connection: X-Forwarded-For\r\nTE: trailers\r\nTrailer: X-Forwarded-For\r\n",
    "upgrade": "Connection: Upgrade, X-Forwarded-For\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
    "underscores": f"X_Forwarded_For: {FORGED}\r\nX-Forwarded_For: {FORGED}\r\n",
    "twice": f"x-forwarded-for: {FORGED}\r\nX-FORWARDED-FOR: {FORGED}\r\n",
    "odd bytes": 'Connection: "X-Forwarded-For", ,;X-Request-ID\r\n',
}
SET = ("x-forwarded-for", "x-request-id")


def echo(port: int, trick: str) -> dict[str, list[str]]:
    """Send a request with these headers, and return those that the server receives."""
    request = (
        f"GET /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token x\r\n"
        f"X-Forwarded-For: {FORGED}\r\nX-Request-ID: forged-by-client\r\n{trick}\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return parsed(answer.read().decode())


def parsed(request: str) -> dict[str, list[str]]:
    """Return the headers of a request that a server has received."""
    headers: dict[str, list[str]] = {}
    for line in request.partition("\r\n\r\n")[0].split("\r\n")[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return headers


@pytest.mark.parametrize("trick", TRICKS)
def test_client_headers_cannot_remove_or_forge_proxy_headers(bench: Bench, trick: str) -> None:
    # HAProxy balances between three servers, one of them Apache.
    for port in (*[bench.ports["haproxy"]] * 6, bench.ports["nginx-balancer"]):
        headers = echo(port, TRICKS[trick])
        for name in SET:
            (value,) = headers[name]
            assert FORGED not in value and "forged" not in value
            assert value not in ("(null)", "")
        assert headers["x-forwarded-proto"] == ["http"]
        assert headers["host"] == ["localhost"]
        assert headers["authorization"] == ["Token x"]
        assert not {"x-forwarded-for", "x-request-id"} & set(
            ", ".join(headers.get("connection", [])).lower().split(", ")
        )
    # A direct request to Apache.
    headers = echo(bench.ports["apache"], TRICKS[trick])
    assert all(len(headers[name]) == 1 and headers[name] != ["(null)"] for name in SET)


def test_trailers_cannot_overwrite_proxy_headers(bench: Bench) -> None:
    """Trailers follow a chunked body."""
    body = f"1\r\na\r\n0\r\nX-Forwarded-For: {FORGED}\r\nX-Request-ID: forged-by-client\r\n"
    trick = f"Transfer-Encoding: chunked\r\nTrailer: X-Forwarded-For\r\n\r\n{body}"
    for port in (
        *[bench.ports["haproxy"]] * 3,
        bench.ports["nginx-balancer"],
        bench.ports["apache"],
    ):
        headers = echo(port, trick)
        assert all(len(headers[name]) == 1 for name in SET)


def test_stats_page_limits_password_guesses(bench: Bench) -> None:
    url = f"http://127.0.0.1:{bench.ports['stats']}/stats"
    page = requests.get(url, auth=("u", "p"), timeout=10)
    assert (page.status_code, page.headers["Refresh"]) == (200, "5")
    assert not re.search(r"\d+\.\d+\.\d+", page.text.partition("</h2>")[0])
    root = requests.get(url.removesuffix("stats"), allow_redirects=False, timeout=10)
    assert (root.status_code, root.headers["Location"]) == (302, "/stats")

    try:
        guessed = [requests.get(url, auth=("u", f"{n}"), timeout=10) for n in range(30)]
        correct = requests.get(url, auth=("u", "p"), timeout=10)
    finally:
        # The tests that follow read the page.
        Balancer(container("haproxy")).command("clear table stats")

    statuses = [answer.status_code for answer in guessed]
    assert statuses[:5] == [401] * 5 and statuses[-10:] == [429] * 10
    assert guessed[-1].headers["Retry-After"] == "60"
    # The limit applies to the correct password too.
    assert correct.status_code == 429
