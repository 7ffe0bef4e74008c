"""The log line of a request: user, client address, request id, and no secrets."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.http import HttpRequest, StreamingHttpResponse
from django.test import Client
from django.urls import path as url
from django_structlog import signals
from pytest_django import DjangoAssertNumQueries, Settings

from ops.logs.lines import JSONLines
from ops.settings.logs import logging_config
from tests import orders
from tests.unit.environments import run_python

User = get_user_model()

HIDDEN = "hidden"


def break_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every request for orders raise an error."""

    def fail(*args: Any) -> None:
        raise KeyError

    monkeypatch.setattr(orders, "count", fail)


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    """Return django-structlog's lines of this name."""
    result = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [event for event in result if event["event"] == name]


@pytest.mark.parametrize(
    ("path", "status"), [("/profile/", 200), ("/nowhere", 404), ("/api/orders/", 500)]
)
def test_request_log_has_no_query_string(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
    status: int,
) -> None:
    """A token may be in it."""
    break_orders(monkeypatch)
    client.raise_request_exception = False

    with caplog.at_level("DEBUG"):
        answer = client.get(path, {"token": HIDDEN})

    assert answer.status_code == status
    lines = events(caplog, "request_failed" if status == 500 else "request_finished")
    assert [line["request"] for line in lines] == [f"GET {path}"]
    for record in caplog.records:
        assert HIDDEN not in record.getMessage()


def test_request_log_has_the_client_address_from_nginx_and_not_from_headers(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """REMOTE_ADDR comes from nginx through uWSGI; any client can send a header."""
    forged = {"x-forwarded-for": "1.2.3.4", "x-real-ip": "1.2.3.4", "forwarded": "for=1.2.3.4"}

    with caplog.at_level("INFO"):
        client.get("/profile/", headers=forged, REMOTE_ADDR="192.0.2.7")

    assert [line["client"] for line in events(caplog, "request_finished")] == ["192.0.2.7"]
    assert "1.2.3.4" not in caplog.text


def test_request_log_has_the_request_id(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        client.get("/profile/", headers={"x-request-id": "id-of-the-request"})

    lines = events(caplog, "request_finished")
    assert [line["request_id"] for line in lines] == ["id-of-the-request"]


def test_probes_are_not_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        for path in ("/livez", "/readyz"):
            client.get(path)

    assert events(caplog, "request_finished") == []


@pytest.mark.django_db
def test_request_log_names_the_user_that_the_view_read(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    user = User.objects.create_user("someone", is_staff=True)
    client.force_login(user)

    with caplog.at_level("INFO"):
        client.get("/profile/")

    assert logged_users(caplog) == [user.pk]


@pytest.mark.django_db
def test_request_log_names_the_user_that_signs_in(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    user = User.objects.create_user("someone", password=HIDDEN, is_staff=True)

    with caplog.at_level("INFO"):
        answer = client.post("/admin/login/", {"username": "someone", "password": HIDDEN})

    assert answer.status_code == 302
    assert logged_users(caplog) == [user.pk]


def logged_users(caplog: pytest.LogCaptureFixture) -> list[int | None]:
    """Return the user of each request that was logged."""
    return [event["user_id"] for event in events(caplog, "request_finished")]


def test_request_log_needs_no_database_query(
    client: Client, transactional_db: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Only a view that uses the user loads it."""
    client.force_login(User.objects.create_user("someone"))

    # The health checks use their own connections.
    with django_assert_num_queries(0):
        assert client.get("/healthz").status_code in (200, 503)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Answer piece by piece."""
    return StreamingHttpResponse(iter([b"one ", b"two"]))


urlpatterns = [url("stream/", stream)]


def test_streamed_response_is_logged_again_at_its_end(
    client: Client, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ROOT_URLCONF = __name__

    with caplog.at_level("INFO"):
        answer = client.get("/stream/", headers={"x-request-id": "id-of-the-stream"})
        assert events(caplog, "streaming_finished") == []
        assert answer.getvalue() == b"one two"

    for name in ("request_finished", "streaming_finished"):
        assert [line["request_id"] for line in events(caplog, name)] == ["id-of-the-stream"]
    assert structlog.contextvars.get_contextvars() == {}


@pytest.fixture
def tenant() -> Iterator[None]:
    """Let a project add a field to every line, and one to the request's line."""

    def bind(**kwargs: Any) -> None:
        structlog.contextvars.bind_contextvars(tenant="one")

    def add(log_kwargs: dict[str, Any], response: Any, **kwargs: Any) -> None:
        log_kwargs["size"] = len(response.content)

    signals.bind_extra_request_metadata.connect(bind)
    signals.bind_extra_request_finished_metadata.connect(add)
    yield
    signals.bind_extra_request_metadata.disconnect(bind)
    signals.bind_extra_request_finished_metadata.disconnect(add)


def test_project_adds_fields_to_the_request_log(
    client: Client, caplog: pytest.LogCaptureFixture, tenant: None
) -> None:
    with caplog.at_level("INFO"):
        answer = client.get("/profile/")

    (line,) = events(caplog, "request_finished")
    assert (line["tenant"], line["size"]) == ("one", len(answer.content))


@pytest.mark.parametrize("path", ["/profile/", "/nowhere", "/api/orders/"])
def test_request_log_is_one_json_object_with_the_fields_of_all_lines(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    break_orders(monkeypatch)
    client.raise_request_exception = False
    options = {**django_settings.LOGGING["formatters"]["line"]}
    assert options.pop("()") is JSONLines

    with caplog.at_level("INFO"):
        client.get(path)

    lines = [record for record in caplog.records if record.name.startswith("django_structlog")]
    (text,) = [JSONLines(**options).format(record) for record in lines]
    assert text == structlog.stdlib.ProcessorFormatter(**options).format(lines[0])
    expected = {"code", "request", "event", "client", "request_id", "level", "logger", "timestamp"}
    assert expected <= set(json.loads(text))
    assert json.loads(text)["level"] == lines[0].levelname.lower()


def test_log_of_a_project_with_the_middleware_of_django_structlog_is_the_same() -> None:
    """An update does not change MIDDLEWARE in the project's settings."""
    program = f"""if True:
        from mysite.settings import test
        own = "ops.logs.requests.LogRequests"
        place = test.MIDDLEWARE.index(own)
        test.MIDDLEWARE[place] = "django_structlog.middlewares.RequestMiddleware"
        import django
        django.setup()
        from django.test import Client
        Client().get("/profile/?token={HIDDEN}", headers={{"x-request-id": "id-of-it"}})
    """
    done = run_python(program, DJANGO_ALLOWED_HOSTS="testserver", DJANGO_LOG_LEVEL="INFO")

    assert HIDDEN not in done.stderr
    line = json.loads(done.stderr.splitlines()[-1])
    shown = {name: line[name] for name in ("code", "request", "client", "request_id")}
    assert shown == {
        "code": 200,
        "request": "GET /profile/",
        "client": "127.0.0.1",
        "request_id": "id-of-it",
    }


@pytest.mark.parametrize("json", [True, False])
def test_log_lines_have_no_token_of_a_password_reset_link(json: bool) -> None:
    token = "cq8o2z-" + "0123456789abcdef" * 2
    logged = f"Not Found: /accounts/reset/MQ/{token}/ of user-0123456789abcdef"
    config = logging_config(level="INFO", json=json)["formatters"]["line"]
    formatter = config.pop("()")(**config)
    event = {"event": logged, "path": f"/reset/MQ/{token}/"}
    records = [
        logging.makeLogRecord({"msg": event}),
        # As structlog's loggers write it.
        logging.makeLogRecord({"msg": event, "_logger": None, "_name": "info"}),
        logging.makeLogRecord({"msg": "GET %s", "args": (f"/reset/MQ/{token}/",)}),
    ]
    lines = [formatter.format(record) for record in records]
    assert token not in "".join(lines)
    assert [line.count("/reset/MQ/***/") for line in lines] == [2, 2, 1]
    assert "user-0123456789abcdef" in lines[0]


@pytest.mark.parametrize("json", [True, False])
def test_logged_traceback_has_no_values_of_variables(json: bool) -> None:
    config = logging_config(level="INFO", json=json)["formatters"]["line"]
    formatter = config.pop("()")(**config)
    try:
        password = "".join(["correct", "-horse"])
        int(password and "x")
    except ValueError:
        record = logging.makeLogRecord(
            {"msg": "GET %s", "args": ("/",), "exc_info": sys.exc_info()}
        )

    line = formatter.format(record)
    assert "ValueError: invalid literal" in line
    assert "correct-horse" not in line
