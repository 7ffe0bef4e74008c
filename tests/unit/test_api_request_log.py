"""The log line of a request: user, client address, request id, and no secrets."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests import orders

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
