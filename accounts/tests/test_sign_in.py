"""Sign-in and sign-out at /accounts/, and the API's token."""

import pytest
from django.conf import settings
from django.shortcuts import resolve_url
from django.test import Client

from accounts.models import User

pytestmark = pytest.mark.django_db(transaction=True)

ACCOUNT = {"username": "someone", "password": "secret-of-the-test"}
HOME = resolve_url(settings.LOGIN_REDIRECT_URL)


@pytest.fixture(autouse=True)
def user() -> User:
    return User.objects.create_user(**ACCOUNT)


def test_sign_in_and_sign_out_redirect_to_the_home_page(client: Client) -> None:
    signed_in = client.post("/accounts/login/", ACCOUNT)
    assert signed_in["Location"] == HOME
    assert "_auth_user_id" in client.session

    signed_out = client.post("/accounts/logout/")
    assert signed_out["Location"] == resolve_url(settings.LOGOUT_REDIRECT_URL or "/")
    assert "_auth_user_id" not in client.session


def test_wrong_password_shows_an_error_and_keeps_the_username(client: Client) -> None:
    page = client.post("/accounts/login/", {**ACCOUNT, "password": "wrong-one", "next": "/admin/"})

    text = page.content.decode()
    assert page.status_code == 200
    assert 'role="alert"' in text and "correct username and password" in text
    assert 'value="someone"' in text and 'value="/admin/"' in text
    assert "wrong-one" not in text


@pytest.mark.parametrize("next_page", ["https://evil.example/", "//evil.example"])
def test_sign_in_redirects_to_no_other_site(client: Client, next_page: str) -> None:
    answer = client.post("/accounts/login/", {**ACCOUNT, "next": next_page})

    assert answer["Location"] == HOME


def test_sign_in_without_csrf_token_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)

    assert client.post("/accounts/login/", ACCOUNT).status_code == 403


def test_sign_in_page_redirects_a_signed_in_user(client: Client, user: User) -> None:
    client.force_login(user)

    assert client.get("/accounts/login/")["Location"] == HOME


def test_get_request_does_not_sign_out(client: Client, user: User) -> None:
    client.force_login(user)

    assert client.get("/accounts/logout/").status_code == 405
    assert "_auth_user_id" in client.session


def test_token_endpoint_returns_the_token_of_the_user(client: Client, user: User) -> None:
    answer = client.post("/api/token/", ACCOUNT)

    assert answer.json() == {"token": user.auth_token.key}
    refused = client.post("/api/token/", {**ACCOUNT, "password": "wrong-one"})
    assert refused.status_code == 400
