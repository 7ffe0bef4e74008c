"""Error responses of the proxies: HTML for browsers, JSON for other clients."""

import json
import re
import socket
from http.client import HTTPResponse

import pytest

from tests.stack.bench import UPLOAD_MAX_MB, Bench
from tests.tree import ROOT

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
TEXT = (ROOT / "templates" / "errors.conf").read_text()
WORDS = dict(re.findall(r'^(\d+) "(.*?)(?:\$upload_limit.)?";$', TEXT, re.MULTILINE))
# A path that every proxy refuses, a body that is too large, a server that does not answer.
REFUSED, LARGE, CUT = "GET {}static/../who", "POST {}x", "POST {}nothing"
LENGTHS = {LARGE: 10**10, CUT: 0}
CASES = [
    *(("haproxy", REFUSED, 400), ("haproxy", LARGE, 413), ("haproxy", CUT, 502)),
    *(("apache", REFUSED, 400), ("apache", LARGE, 413), ("apache", CUT, 502)),
    *(("nginx-balancer", LARGE, 413), ("nginx-balancer", CUT, 502)),
    *(("nginx", REFUSED, 400), ("nginx", LARGE, 413), ("nginx", CUT, 502)),
]


def ask(
    bench: Bench, proxy: str, line: str, accept: str, folder: str = "/"
) -> tuple[HTTPResponse, str]:
    """Send a raw request; return the response and its body."""
    head = f"{line.format(folder)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    head += f"Accept: {accept}\r\n" if accept else ""
    head += f"Content-Length: {LENGTHS[line]}\r\n" if line in LENGTHS else ""
    with socket.create_connection(("127.0.0.1", bench.ports[proxy]), timeout=10) as connection:
        connection.sendall(f"{head}\r\n".encode())
        answer = HTTPResponse(connection)
        answer.begin()
        return answer, answer.read().decode()


@pytest.mark.parametrize("accept", [BROWSER, "text/html, application/json"])
@pytest.mark.parametrize(("proxy", "line", "status"), CASES)
def test_browser_gets_an_html_error_page(
    bench: Bench, proxy: str, line: str, status: int, accept: str
) -> None:
    answer, page = ask(bench, proxy, line, accept)

    assert answer.status == status
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert page.count(WORDS[str(status)]) == 2 and str(status) in page
    assert not any(left in page for left in ("{{", "$", "%0A"))
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Retry-After"] == ("5" if status == 502 else None)


@pytest.mark.parametrize(
    ("accept", "folder"),
    [("", "/"), ("*/*", "/"), ("application/json, text/html", "/"), (BROWSER, "/api/")],
)
@pytest.mark.parametrize(("proxy", "line", "status"), CASES)
def test_other_client_gets_a_json_error(
    bench: Bench, proxy: str, line: str, status: int, accept: str, folder: str
) -> None:
    answer, text = ask(bench, proxy, line, accept, folder)

    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
    assert json.loads(text)["detail"].startswith(WORDS[str(status)])
    # HAProxy does not state a limit.
    assert "$" not in text
    if line == LARGE and proxy != "haproxy":
        assert f"the limit is {UPLOAD_MAX_MB} MB" in text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Retry-After"] == ("5" if status == 502 else None)


@pytest.mark.parametrize("proxy", ["haproxy", "apache", "nginx-balancer"])
def test_error_response_of_a_server_is_forwarded_unchanged(bench: Bench, proxy: str) -> None:
    """The server answers 502 without a body."""
    answer, text = ask(bench, proxy, "GET {}hung", BROWSER)

    assert (answer.status, answer.headers["Content-Type"], text) == (502, None, "")
