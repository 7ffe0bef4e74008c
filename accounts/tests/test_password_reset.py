"""Password reset: request, email, new password, expired links."""

import re

import pytest
from django.core.mail import EmailMessage
from django.test import Client
from pytest_django import Settings
from rest_framework.settings import api_settings

from accounts.models import User

pytestmark = pytest.mark.django_db

OLD, NEW = "secret-of-the-test", "another-secret-of-7"
REQUEST = "/accounts/password_reset/"


@pytest.fixture(autouse=True)
def user() -> User:
    return User.objects.create_user("someone", "someone@example.com", OLD)


def request_link(client: Client, mailoutbox: list[EmailMessage], **headers: str) -> str:
    """Request a password reset and return the path of the link in the email."""
    answer = client.post(REQUEST, {"email": "Someone@example.com"}, headers=headers)
    assert answer["Location"] == "/accounts/password_reset/done/"
    (link,) = re.findall(r"^http://testserver(/\S+)$", mailoutbox[-1].body, re.MULTILINE)
    return str(link)


def test_password_reset_link_sets_a_new_password_once(
    client: Client, user: User, mailoutbox: list[EmailMessage]
) -> None:
    link = request_link(client, mailoutbox)

    form = client.get(link, follow=True)
    done = client.post(
        form.redirect_chain[-1][0], {"new_password1": NEW, "new_password2": NEW}, follow=True
    )
    reused = Client().get(link)

    assert mailoutbox[0].to == ["someone@example.com"]
    assert "someone" in mailoutbox[0].body
    assert "Your new password is set." in done.content.decode()
    assert Client().login(username="someone", password=NEW)
    assert not Client().login(username="someone", password=OLD)
    assert "This link is no longer valid" in reused.content.decode()


def test_password_reset_for_unknown_address_sends_no_email(
    client: Client, mailoutbox: list[EmailMessage]
) -> None:
    answer = client.post(REQUEST, {"email": "other@example.com"}, follow=True)

    assert "If an account has the address" in answer.content.decode()
    assert mailoutbox == []


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        (REQUEST, {"email": "no address"}, "Enter a valid email address."),
        (None, {"new_password1": NEW, "new_password2": OLD}, "password fields didn"),
        (None, {"new_password1": "12345678", "new_password2": "12345678"}, "is too common."),
    ],
    ids=["invalid email", "passwords differ", "common password"],
)
def test_password_reset_form_shows_errors_at_their_fields(
    client: Client,
    mailoutbox: list[EmailMessage],
    path: str | None,
    data: dict[str, str],
    message: str,
) -> None:
    if path is None:
        path = client.get(request_link(client, mailoutbox)).headers["Location"]

    answer = client.post(path, data)

    text = answer.content.decode()
    assert answer.status_code == 200
    assert message in text and 'aria-invalid="true"' in text
    assert "12345678" not in text and OLD not in text


def test_password_reset_pages_use_the_project_templates(client: Client) -> None:
    """Django's admin has templates of the same names."""
    for path in (REQUEST, f"{REQUEST}done/", "/accounts/reset/a/b/", "/accounts/reset/done/"):
        page = client.get(path)

        assert page.status_code == 200
        assert "Django administration" not in page.content.decode()
        assert "accounts/card.html" in [template.name for template in page.templates]


def test_sign_in_page_links_to_password_reset(client: Client) -> None:
    assert f'href="{REQUEST}"' in client.get("/accounts/login/").content.decode()


def test_password_reset_is_throttled_at_the_sign_in_rate(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(api_settings.DEFAULT_THROTTLE_RATES, "login", "3/minute")

    answers = [client.post(REQUEST, {"email": "a@example.com"}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [302] * 3 + [429]


def test_password_reset_page_says_when_the_site_sends_no_mail(
    client: Client, settings: Settings
) -> None:
    """Without EMAIL_URL; the user gets no promise of a link."""
    settings.EMAIL_BACKEND = "ops.mail.QueuedBackend"
    settings.MAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = ""

    for answer in (client.get(REQUEST), client.post(REQUEST, {"email": "someone@example.com"})):
        assert "This site sends no email" in answer.content.decode()
    assert REQUEST not in client.get("/accounts/login/").content.decode()
