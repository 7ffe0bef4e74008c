"""Signing in and out at /accounts/."""

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User

pytestmark = pytest.mark.django_db(transaction=True)

GIVEN = {"username": "someone", "password": "secret-of-the-test"}


@pytest.fixture(autouse=True)
def someone() -> User:
    return User.objects.create_user(**GIVEN)


def test_signing_in_leads_to_the_page_and_out_again(client: Client) -> None:
    entered = client.post("/accounts/login/", {**GIVEN, "next": "/"}, follow=True)
    left = client.post("/accounts/logout/", follow=True)

    assert entered.redirect_chain == [("/", 302)]
    assert "Signed in as <strong>someone</strong>" in entered.content.decode()
    assert left.redirect_chain == [("/", 302)]
    assert "Signed in" not in left.content.decode()


def test_a_wrong_password_is_said_and_the_name_kept(client: Client) -> None:
    answer = client.post("/accounts/login/", {**GIVEN, "password": "wrong-one", "next": "/admin/"})

    text = answer.content.decode()
    assert answer.status_code == 200
    assert 'role="alert"' in text and "correct username and password" in text
    assert 'value="someone"' in text and 'value="/admin/"' in text
    assert "wrong-one" not in text


@pytest.mark.parametrize("next_page", ["https://evil.example/", "//evil.example"])
def test_nobody_is_led_elsewhere(client: Client, next_page: str) -> None:
    answer = client.post("/accounts/login/", {**GIVEN, "next": next_page})

    assert answer.headers["Location"] == "/"


def test_a_form_of_another_site_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)

    assert client.post("/accounts/login/", GIVEN).status_code == 403


def test_who_is_signed_in_is_not_asked_again(client: Client) -> None:
    client.force_login(User.objects.get())

    assert client.get("/accounts/login/").headers["Location"] == "/"


def test_a_link_does_not_sign_out(client: Client) -> None:
    client.force_login(User.objects.get())

    assert client.get("/accounts/logout/").status_code == 405


def test_who_is_no_staff_gets_uploads_and_nothing_of_the_stack(
    client: Client, settings: Settings
) -> None:
    settings.PROFILE = "server-of-the-test"
    client.force_login(User.objects.get())

    text = client.get("/").content.decode()

    assert 'id="upload-form"' in text
    assert "server-of-the-test" not in text and 'id="stack"' not in text
