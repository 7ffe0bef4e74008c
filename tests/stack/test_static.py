"""Static and media files: served by nginx, precompressed, with cache headers."""

import gzip
import re
import uuid
from collections.abc import Mapping

import pytest
import requests

from tests.stack.compose import APP_SERVER, Stack
from tests.stack.test_observability import scrape
from tests.stack.test_recovery import processes
from tests.waiting import eventually

SERVERS = ("server1", "server2")
BROWSER = "gzip, deflate, br, zstd"


def requests_served(stack: Stack) -> float:
    """Return the number of requests that Django has served, without probes."""
    return sum(
        number
        for server in ("server1", "server2")
        for (name, _), number in scrape(stack, server).items()
        if name == "django_http_requests_total"
    )


@pytest.fixture
def stylesheet(production: Stack) -> str:
    """Return the path of the stylesheet that the status page links."""
    match = re.search(
        r'href="(/static/ops/status\.[0-9a-f]{12}\.css)"', production.get("/status/").text
    )
    assert match, "the page links no stylesheet with a hashed filename"
    return match[1]


def test_static_files_never_reach_the_application(production: Stack, stylesheet: str) -> None:
    before = requests_served(production)
    for _ in range(20):
        assert production.get(stylesheet).status_code == 200

    assert requests_served(production) == before
    production.get("/profile/")
    assert requests_served(production) == before + 1


def test_static_files_are_served_while_django_hangs(production: Stack, stylesheet: str) -> None:
    """HAProxy marks both servers as down for pages, but not for static files."""
    stopped = {server: processes(production, APP_SERVER, server) for server in SERVERS}
    try:
        for server, pids in stopped.items():
            signal_processes(production, server, "STOP", pids)
        eventually(
            lambda: set(statuses(production, "dynamic_backend").values()) == {"DOWN"},
            seconds=30,
            what="both servers are down for pages",
        )
        assert production.get(stylesheet).status_code == 200
        assert set(statuses(production, "static_backend").values()) == {"UP"}
    finally:
        for server, pids in stopped.items():
            signal_processes(production, server, "CONT", pids)
    production.wait_for_both()


def signal_processes(stack: Stack, server: str, name: str, pids: dict[int, int]) -> None:
    """Send a signal to processes in the container of a server."""
    stack.run_in(server, "sh", "-c", f"kill -{name} {' '.join(map(str, pids))}")


def statuses(stack: Stack, backend: str) -> dict[str, str]:
    """Return the state of each server of a backend in HAProxy."""
    rows = [row for row in stack.statistics() if row["pxname"] == backend]
    return {row["svname"]: row["status"] for row in rows if row["svname"] in SERVERS}


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_static_files_are_precompressed(production: Stack, stylesheet: str, coding: str) -> None:
    plain = production.get(stylesheet, headers={"Accept-Encoding": "identity"})
    packed = requests.get(
        production.url(stylesheet), headers={"Accept-Encoding": coding}, stream=True, timeout=10
    )
    body = packed.raw.read(decode_content=False)

    assert packed.headers["Content-Encoding"] == coding
    # A cache on the way keeps the forms apart.
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert len(body) < len(plain.content)
    if coding == "gzip":
        assert gzip.decompress(body) == plain.content


def fetch(stack: Stack, path: str, **headers: str) -> tuple[Mapping[str, str], bytes]:
    """Return a response's headers and its body as it was sent, for a browser by default."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    response = requests.get(
        stack.url(path), headers={"Accept-Encoding": BROWSER, **headers}, stream=True, timeout=10
    )
    return response.headers, response.raw.read(decode_content=False)


def test_haproxy_keeps_hashed_files_for_browsers(production: Stack, stylesheet: str) -> None:
    first, body = fetch(production, stylesheet)
    again, kept = fetch(production, stylesheet)

    assert kept == body
    assert again["Content-Encoding"] == "br" and "Age" in again
    assert again["X-Request-ID"] != first["X-Request-ID"]


@pytest.mark.parametrize("coding", ["gzip", "identity", "gzip, br;q=0"])
def test_clients_without_br_neither_get_nor_replace_the_kept_file(
    production: Stack, stylesheet: str, coding: str
) -> None:
    # HAProxy has no file of this name yet.
    path = f"{stylesheet}?{uuid.uuid4()}"
    own, kept, again = (
        fetch(production, path, Accept_Encoding=accepted)[0]
        for accepted in (coding, BROWSER, coding)
    )

    assert "Age" not in own and "Age" not in again
    assert own.get("Content-Encoding", "identity") == coding.partition(",")[0]
    assert again.get("Content-Encoding") == own.get("Content-Encoding")
    assert kept["Content-Encoding"] == "br"


def test_haproxy_keeps_no_unhashed_file_and_answers_no_range(
    production: Stack, stylesheet: str
) -> None:
    for _ in range(2):
        assert "Age" not in fetch(production, "/static/ops/status.css")[0]
        assert "Age" not in fetch(production, stylesheet, Range="bytes=0-9")[0]


def test_hashed_files_are_cached_for_a_year(production: Stack, stylesheet: str) -> None:
    assert production.get(stylesheet).headers["Cache-Control"] == (
        "public, max-age=31536000, immutable"
    )


def test_unhashed_files_are_revalidated(production: Stack) -> None:
    assert production.get("/static/ops/status.css").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/static/ops/status.0123456789ab.css", "/media/nothing.png"])
def test_404_is_not_cacheable(production: Stack, path: str) -> None:
    answer = production.get(path)

    assert answer.status_code == 404
    assert "max-age" not in answer.headers.get("Cache-Control", "")


@pytest.mark.parametrize(
    "path",
    ["/static/../manage.py", "/static/%2e%2e/project/manage.py", "/static..%2fproject/manage.py"],
)
def test_paths_outside_the_static_folder_are_not_served(production: Stack, path: str) -> None:
    session = requests.Session()
    request = requests.Request("GET", production.url()).prepare()
    request.url = f"http://127.0.0.1:{production.http_port}{path}"

    assert session.send(request, timeout=10).status_code in (400, 404)


def test_nginx_redirects_without_its_own_port(production: Stack) -> None:
    production.run_in("server1", "mkdir", "-p", "/srv/media/folder")

    answer = production.get("/media/folder", allow_redirects=False)

    assert (answer.status_code, answer.headers["Location"]) == (301, "/media/folder/")


def test_media_files_are_served_in_a_sandbox(production: Stack) -> None:
    production.python_in(
        "server1", "open('/srv/media/page.html', 'w').write('<script>alert(1)</script>')"
    )

    # Both servers share the volume.
    for _ in range(2):
        answer = production.get("/media/page.html")
        assert answer.status_code == 200
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        # Some belong to one user: no cache on the way keeps them.
        assert answer.headers["Cache-Control"] == "private, max-age=3600"
