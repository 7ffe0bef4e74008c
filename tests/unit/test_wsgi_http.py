"""The application as gunicorn loads it: nginx tells it by headers what uWSGI has as variables."""

from typing import Any

import pytest

from mysite import wsgi_http


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Django is given."""
    environ: dict[str, Any] = {}

    def django(given: dict[str, Any], start_response: object) -> list[bytes]:
        environ.update(given)
        return [b""]

    monkeypatch.setattr(wsgi_http, "django", django)
    return environ


def test_the_client_and_the_port_are_nginx_s_word(seen: dict[str, Any]) -> None:
    given = {
        **{"REMOTE_ADDR": "", "SERVER_PORT": "80", "HTTP_HOST": "localhost"},
        **{"HTTP_NGINX_REMOTE_ADDR": "192.0.2.7", "HTTP_NGINX_SERVER_PORT": "7999"},
    }
    wsgi_http.application(given, None)

    assert seen == {"REMOTE_ADDR": "192.0.2.7", "SERVER_PORT": "7999", "HTTP_HOST": "localhost"}


def test_without_nginx_no_header_is_believed(seen: dict[str, Any]) -> None:
    """Since gunicorn itself takes the port from the Host; the metrics go by it."""
    wsgi_http.application({"REMOTE_ADDR": "", "SERVER_PORT": "9145"}, None)

    assert seen == {"REMOTE_ADDR": "", "SERVER_PORT": ""}
