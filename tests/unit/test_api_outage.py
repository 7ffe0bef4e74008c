"""Responses during a database outage: 503 with Retry-After, without internal details."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
)
from django.db.backends.utils import CursorWrapper
from django.test import Client
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ops.database.outage import outage_behind
from tests import orders

User = get_user_model()

HIDDEN = "hidden"
DATABASE_DOWN = OperationalError(2003, f"Can't connect to MySQL server on '{HIDDEN}-db:3306' (111)")
OUTAGES = [
    DATABASE_DOWN,
    OperationalError(2006, f"{HIDDEN} has gone away"),
    InterfaceError(2013, f"Lost connection to {HIDDEN}"),
    InterfaceError(0, ""),
    OperationalError(2055, f"Lost connection to {HIDDEN}, system error: 113"),
    OperationalError(f'connection to server at "{HIDDEN}" failed: Connection refused'),
]
OTHER_ERRORS = [
    ProgrammingError(1146, f"Table '{HIDDEN}.orders' doesn't exist"),
    OperationalError(1045, f"Access denied for user '{HIDDEN}'"),
    OperationalError(1054, f"Unknown column '{HIDDEN}'"),
    IntegrityError(1062, f"Duplicate entry '{HIDDEN}'"),
    KeyError(HIDDEN),
]


def break_orders(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Make every request for orders end with this error."""

    def fail(*args: Any) -> None:
        raise error

    monkeypatch.setattr(orders, "count", fail)


def assert_outage(answer: Any) -> None:
    """Check that the answer is the one for an outage."""
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json() == {
        "detail": "The database is not available. Please try again shortly.",
    }


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("error", OUTAGES, ids=str)
def test_database_outage_is_503(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, method: str
) -> None:
    break_orders(monkeypatch, error)

    assert_outage(getattr(client, method)("/api/orders/"))


def test_database_outage_is_logged_once_without_traceback(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with the reason, and without a traceback for each request."""
    break_orders(monkeypatch, DATABASE_DOWN)

    client.get("/api/orders/")

    records = [record for record in caplog.records if record.name == "ops.middleware"]
    assert [record.levelname for record in records] == ["ERROR"]
    assert f"{HIDDEN}-db" in records[0].getMessage()
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("error", OTHER_ERRORS, ids=str)
def test_error_that_is_no_outage_is_raised(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    break_orders(monkeypatch, error)

    with pytest.raises(type(error)):
        client.get("/api/orders/")


@pytest.mark.parametrize("error", OTHER_ERRORS, ids=str)
def test_error_that_is_no_outage_is_500_without_details(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    break_orders(monkeypatch, error)
    client.raise_request_exception = False

    answer = client.get("/api/orders/")

    assert answer.status_code == 500
    assert HIDDEN not in answer.content.decode()


@pytest.fixture
def signed_in_user_without_database(client: Client, transactional_db: None) -> Iterator[None]:
    """Sign a user in, then stop the database."""
    client.force_login(User.objects.create_user("someone"))

    def fail(*args: Any, **options: Any) -> None:
        raise DATABASE_DOWN

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CursorWrapper, "execute", fail)
        yield


@pytest.mark.usefixtures("signed_in_user_without_database")
@pytest.mark.parametrize("path", ["/status/", "/profile/", "/api/orders/", "/admin/"])
def test_database_outage_is_503_for_a_signed_in_user(client: Client, path: str) -> None:
    """Code outside the view reads the user too, such as the request log."""
    assert_outage(client.get(path))


@pytest.mark.parametrize("is_signed_in", [False, True])
def test_database_outage_while_a_session_is_saved_is_503(
    client: Client, transactional_db: None, is_signed_in: bool
) -> None:
    """It is after the view; Django says of a kept session that its user has signed out."""
    client.raise_request_exception = False
    if is_signed_in:
        client.force_login(User.objects.create_user("someone"))

    def fail(*args: Any, **options: Any) -> None:
        raise DATABASE_DOWN

    def visit(view: APIView, request: Request) -> Response:
        request.session["visits"] = request.session.get("visits", 0) + 1
        patch.setattr(CursorWrapper, "execute", fail)
        return Response({})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders.OrdersView, "get", visit)
        assert_outage(client.get("/api/orders/"))


def raised(*, cause: BaseException | None, context: BaseException | None) -> ValueError:
    """Return an error as `raise ... from cause` makes it while another one is handled."""
    error = ValueError("later")
    error.__context__, error.__cause__ = context, cause
    return error


def test_error_is_of_an_outage_unless_it_was_raised_from_none_or_another_error() -> None:
    suppressed, circle = raised(cause=None, context=DATABASE_DOWN), ValueError("a circle")
    circle.__cause__ = circle

    assert outage_behind(DATABASE_DOWN) is DATABASE_DOWN
    implicit = ValueError("implicit")
    implicit.__context__ = DATABASE_DOWN
    assert outage_behind(implicit) is DATABASE_DOWN
    assert outage_behind(raised(cause=implicit, context=None)) is DATABASE_DOWN
    for other in (suppressed, circle, raised(cause=KeyError(), context=DATABASE_DOWN), None):
        assert outage_behind(other) is None


@pytest.mark.usefixtures("signed_in_user_without_database")
def test_healthz_reports_database_down_to_a_signed_in_user(client: Client) -> None:
    answer = client.get("/healthz")

    assert answer.status_code == 503
    assert answer.json()["components"]["database"]["status"] == "down"


@pytest.mark.usefixtures("signed_in_user_without_database")
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_are_200_during_a_database_outage(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.usefixtures("signed_in_user_without_database")
def test_pages_without_queries_are_served_to_anonymous_visitors_during_a_database_outage(
    client: Client,
) -> None:
    client.cookies.clear()

    for path in ("/status/", "/profile/"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 200) for path in ("/livez", "/readyz", "/profile", "/profile/", "/status/")),
        *(("/accounts/login/", 200), ("/", 302), ("/favicon.ico", 302), ("/healthz", 503)),
        *(("/status/report/", 403), ("/api/nothing/", 404), ("/nothing", 404)),
    ],
)
def test_atomic_requests_do_not_make_pages_without_queries_need_the_database(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str, status: int
) -> None:
    """With ATOMIC_REQUESTS, Django begins a transaction before every other view."""

    def fail(_: object) -> None:
        raise DATABASE_DOWN

    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    # On the class: a patched connection would keep pytest-django's blocker as its method.
    monkeypatch.setattr(type(connections["default"]), "ensure_connection", fail)

    answer = client.get(path)

    assert answer.status_code == status
    if path == "/healthz":
        assert set(answer.json()["components"]) >= {"database", "cache", "storage"}
