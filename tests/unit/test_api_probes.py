"""/livez and /readyz answer every request, without the database.

No test here may use the database: pytest-django refuses a query where no mark allows it.
"""

from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

PROBES = ("/livez", "/readyz")
HOSTS = ("haproxy", "10.0.0.7:7999", "a b", "]", "@", "evil.example/x", "-", "[::1", "ä")


@pytest.fixture(autouse=True)
def drain_file(settings: Settings, tmp_path: Path) -> Path:
    """Return the path of the drain file."""
    settings.DRAIN_FILE = tmp_path / "drain"
    return tmp_path / "drain"


@pytest.mark.parametrize(("path", "text"), [("/livez", b"alive\n"), ("/readyz", b"ready\n")])
def test_probe_response_is_one_word_of_plain_text(client: Client, path: str, text: bytes) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.content) == (200, text)
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PROBES)
@pytest.mark.parametrize("host", HOSTS)
def test_probe_accepts_any_host_header(client: Client, path: str, host: str) -> None:
    assert client.get(path, headers={"host": host}).status_code == 200
    # Every other path refuses them.
    assert client.get("/profile/", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("path", PROBES)
def test_probe_is_not_redirected_to_https(client: Client, settings: Settings, path: str) -> None:
    settings.SECURE_SSL_REDIRECT = True

    assert client.get(path, headers={"host": "10.0.0.7"}).status_code == 200
    assert client.get("/profile/").status_code == 301


@pytest.mark.parametrize("path", PROBES)
def test_probe_does_not_look_up_the_session(client: Client, path: str) -> None:
    client.cookies["sessionid"] = "abcdefghijklmnopqrstuvwxyz012345"

    assert client.get(path).status_code == 200


def test_readyz_is_404_while_the_drain_file_exists(client: Client, drain_file: Path) -> None:
    assert client.get("/readyz").status_code == 200

    drain_file.touch()
    draining = client.get("/readyz")
    alive = client.get("/livez")
    served = client.get("/profile/")
    drain_file.unlink()

    assert (draining.status_code, draining.content) == (404, b"draining\n")
    assert draining.headers["Cache-Control"] == "no-store"
    # A draining server is alive and serves the requests that it receives.
    assert (alive.status_code, served.status_code) == (200, 200)
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("path", PROBES)
def test_probe_answers_head_like_get(client: Client, drain_file: Path, path: str) -> None:
    assert client.head(path).status_code == 200
    drain_file.touch()
    assert client.head(path).status_code == client.get(path).status_code


@pytest.mark.parametrize("path", ["/livez/", "/readyz/", "/api/readyz", "/READYZ"])
def test_probe_path_must_match_exactly(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404
