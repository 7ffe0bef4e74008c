"""Requests that nginx logs: the user in nginx's line, and when Django writes a line too."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.test import AsyncClient, Client
from django_structlog import signals
from pytest_django import Settings

from ops.logs.requests import NGINX_LOGS, USER_HEADER

User = get_user_model()


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Log as in production."""
    with caplog.at_level("INFO"):
        yield


@pytest.fixture
def behind_nginx(client: Client) -> Client:
    """Return a client whose requests come through nginx."""
    client.defaults[NGINX_LOGS] = True
    return client


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return Django's lines of requests."""
    result = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [event for event in result if event["event"] == "request_finished"]


@pytest.fixture
def user(db: None, behind_nginx: Client) -> AbstractBaseUser:
    """Return a user whose requests come through nginx."""
    user = User.objects.create_user("someone")
    behind_nginx.force_login(user)
    return user


def test_user_of_a_request_is_left_to_the_line_of_nginx(
    behind_nginx: Client, user: AbstractBaseUser, caplog: pytest.LogCaptureFixture
) -> None:
    answer = behind_nginx.get("/profile/")

    assert answer.headers[USER_HEADER] == str(user.pk)
    assert lines(caplog) == []


def test_user_of_an_asgi_request_is_left_to_the_line_of_nginx(
    user: AbstractBaseUser, async_client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    scope = {"path": "/profile/", "headers": [(b"host", b"testserver")], NGINX_LOGS: True}
    async_client.force_login(user)

    answer = async_to_sync(async_client.request)(**scope)

    assert answer.headers[USER_HEADER] == str(user.pk)
    assert lines(caplog) == []


def test_request_without_a_user_is_left_to_nginx(
    behind_nginx: Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = behind_nginx.get("/status/")

    assert answer.status_code == 200 and USER_HEADER not in answer.headers
    assert lines(caplog) == []


def test_failed_request_has_a_line_of_django_too(
    behind_nginx: Client, user: AbstractBaseUser, caplog: pytest.LogCaptureFixture
) -> None:
    answer = behind_nginx.post("/profile/")

    assert answer.status_code == 405 and answer.headers[USER_HEADER] == str(user.pk)
    assert [line["user_id"] for line in lines(caplog)] == [user.pk]


def test_without_nginx_django_logs_and_sends_no_header_for_it(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Its line is the only one, and a client could see the header."""
    answer = client.get("/profile/", headers={"nginx-logs": "1", USER_HEADER: "5"})

    assert USER_HEADER not in answer.headers
    assert len(lines(caplog)) == 1


def test_line_with_fields_of_the_project_is_written(
    behind_nginx: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def bind(**kwargs: Any) -> None:
        structlog.contextvars.bind_contextvars(tenant="one")

    def add(log_kwargs: dict[str, Any], **kwargs: Any) -> None:
        log_kwargs["size"] = 5

    for signal, receiver in (
        (signals.bind_extra_request_metadata, bind),
        (signals.bind_extra_request_finished_metadata, add),
    ):
        signal.connect(receiver)
        try:
            behind_nginx.get("/profile/")
        finally:
            signal.disconnect(receiver)

    first, second = lines(caplog)
    assert first["tenant"] == "one" and second["size"] == 5


def test_django_logs_each_request_with_debug(
    behind_nginx: Client, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    settings.DEBUG = True
    behind_nginx.get("/profile/")
    settings.DEBUG = False
    with caplog.at_level("DEBUG"):
        behind_nginx.get("/profile/")

    assert len(lines(caplog)) == 2


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["one\ntwo", "Jürgen"])
def test_user_whose_key_is_no_header_is_in_a_line_of_django(
    behind_nginx: Client,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
) -> None:
    monkeypatch.setattr("ops.logs.requests.user_of", lambda request: {"user_id": key})

    answer = behind_nginx.get("/profile/")

    assert answer.status_code == 200 and USER_HEADER not in answer.headers
    assert [line["user_id"] for line in lines(caplog)] == [key]
