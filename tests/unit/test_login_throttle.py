"""The limit on sign-in attempts, on every login path whatever view serves it."""

from collections.abc import Iterator

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.core.checks import run_checks
from django.test import Client
from pytest_django import Settings
from rest_framework.settings import api_settings

from ops import throttling
from ops.throttling import RateThrottle

pytestmark = pytest.mark.django_db

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
LOGIN_PATHS = ("/api/token/", "/accounts/login/", "/admin/login/")
ATTEMPT = {"username": "someone", "password": "guess"}


@pytest.fixture(autouse=True)
def two_attempts_a_minute(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    rates = {"anon": "off", "user": "off", "login": "2/minute"}
    monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", rates)
    monkeypatch.setattr(throttling, "time", lambda: 1_000_000_030.0)
    cache.clear()
    yield
    cache.clear()


def post(client: Client, path: str, accept: str = "*/*") -> int:
    return client.post(path, ATTEMPT, headers={"Accept": accept}).status_code


@pytest.mark.parametrize("path", LOGIN_PATHS)
def test_sign_in_over_the_limit_is_429_with_retry_after(client: Client, path: str) -> None:
    first, second = post(client, path), post(client, path)
    third = client.post(path, ATTEMPT)

    assert first == second != 429
    assert third.status_code == 429
    assert 1 <= int(third["Retry-After"]) <= 120


@pytest.mark.parametrize("path", LOGIN_PATHS)
def test_sign_in_is_accepted_after_retry_after(
    client: Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whole seconds, and not a part of one too early."""
    now = 1_000_000_030.6
    monkeypatch.setattr(throttling, "time", lambda: now)
    while post(client, path) != 429:
        pass
    seconds = int(client.post(path, ATTEMPT)["Retry-After"])

    now += seconds

    assert post(client, path) != 429


def test_requests_to_the_api_are_no_sign_in_attempts(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"anon": "9/minute", "user": "off", "login": "2/minute"}
    monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", rates)
    for _ in range(5):
        assert client.get("/api/orders/").status_code == 200

    assert post(client, "/accounts/login/") == 200


def test_sign_in_attempts_on_all_login_paths_count_together(client: Client) -> None:
    assert [post(client, path) for path in LOGIN_PATHS] == [400, 200, 429]


@pytest.mark.parametrize("path", LOGIN_PATHS)
@pytest.mark.parametrize(
    ("accept", "content_type", "text"),
    [
        (BROWSER, "text/html", "then try again."),
        ("*/*", "application/json", "Too many attempts. Wait "),
        ("application/json", "application/json", "Too many attempts. Wait "),
        ("image/png", "application/json", "Too many attempts. Wait "),
    ],
)
def test_sign_in_429_is_html_for_browsers_and_json_for_other_clients(
    client: Client, path: str, accept: str, content_type: str, text: str
) -> None:
    for _ in range(2):
        post(client, path)

    refused = client.post(path, ATTEMPT, headers={"Accept": accept})

    if path.startswith("/api/"):
        content_type = "application/json"
    assert refused.status_code == 429
    assert refused["Content-Type"].partition(";")[0] == content_type
    assert text in refused.content.decode()
    assert refused["Retry-After"] in refused.content.decode()


def test_login_forms_and_other_pages_are_not_limited(client: Client) -> None:
    client.force_login(get_user_model()._default_manager.create_superuser("chief"))
    for _ in range(3):
        post(client, "/admin/login/")
    assert post(client, "/admin/login/") == 429

    for path in ("/status/", "/admin/", "/api/docs/"):
        assert client.get(path).status_code == 200
    assert client.post("/api/orders/").status_code == 200
    assert client.post("/accounts/logout/").status_code == 302
    for path in ("/accounts/login/", "/admin/login/"):
        for method in (client.get, client.head, client.options):
            assert method(path).status_code != 429


def test_sign_in_limit_is_per_client_address(client: Client) -> None:
    for _ in range(3):
        post(client, "/accounts/login/")

    answer = client.post("/accounts/login/", ATTEMPT, REMOTE_ADDR="192.0.2.1")

    assert answer.status_code == 200


def test_form_without_csrf_token_is_no_sign_in_attempt(client: Client) -> None:
    forged = Client(enforce_csrf_checks=True)

    assert [post(forged, "/accounts/login/") for _ in range(5)] == [403] * 5
    assert post(client, "/accounts/login/") == 200


@pytest.mark.parametrize("entry", ["orders", "/api/orders/"])
def test_throttle_login_paths_accepts_url_names_and_paths(
    client: Client, settings: Settings, entry: str
) -> None:
    settings.THROTTLE_LOGIN_PATHS = [entry]

    assert [post(client, "/api/orders/") for _ in range(3)] == [200, 200, 429]
    assert post(client, "/accounts/login/") == 200


def test_sign_in_limit_can_be_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(api_settings.DEFAULT_THROTTLE_RATES, "login", "off")

    assert {post(client, "/accounts/login/") for _ in range(30)} == {200}


def test_cache_outage_turns_off_the_sign_in_limit(client: Client, settings: Settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.unit.test_throttling.DeadCache"}}
    RateThrottle.warned = float("-inf")

    assert {post(client, "/accounts/login/") for _ in range(5)} == {200}


def test_system_check_warns_of_an_unknown_throttle_login_path(settings: Settings) -> None:
    assert [result for result in run_checks() if result.id == "ops.W001"] == []

    settings.THROTTLE_LOGIN_PATHS = ["login", "logn", "/accounts/login/", "/no/such/page"]

    named = [str(result.msg) for result in run_checks() if result.id == "ops.W001"]
    assert [message.partition("path ")[2] for message in named] == ["'logn'.", "'/no/such/page'."]
