"""Only a password change or a deactivated account revokes API tokens."""

from collections.abc import Callable

import pytest
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.test import Client
from django.test.utils import isolate_apps
from pytest_django import Settings

from accounts.models import User

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD, NEW = "secret-of-the-test", "another-secret-of-7"


@pytest.fixture
def user() -> User:
    return User.objects.create_user("someone", password=PASSWORD)


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("chief"))
    return client


def request_token(user: User, password: str = PASSWORD) -> str:
    answer = Client().post("/api/token/", {"username": user.username, "password": password})
    return str(answer.json()["token"])


def api_status(token: str) -> int:
    """Return the status of an API request with this token."""
    return Client().get("/api/schema/", headers={"Authorization": f"Token {token}"}).status_code


def set_password_in_admin(client: Client, user: User) -> None:
    answer = client.post(
        f"/admin/accounts/user/{user.pk}/password/",
        {"password1": NEW, "password2": NEW, "usable_password": "true"},
    )
    assert answer.status_code == 302


def disable_password_in_admin(client: Client, user: User) -> None:
    answer = client.post(
        f"/admin/accounts/user/{user.pk}/password/",
        {"usable_password": "false", "unset-password": "Disable"},
    )
    assert answer.status_code == 302


def deactivate_in_admin(client: Client, user: User) -> None:
    dates = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    answer = client.post(
        f"/admin/accounts/user/{user.pk}/change/", {"username": user.username, **dates}
    )
    assert answer.status_code == 302


def run_changepassword(_: Client, user: User) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("getpass.getpass", lambda **_: NEW)
        call_command("changepassword", user.username)


def set_password(_: Client, user: User) -> None:
    user.set_password(NEW)
    user.save()


def save_only_password_field(_: Client, user: User) -> None:
    user.set_password(NEW)
    user.save(update_fields=["password"])


def assign_password_hash(_: Client, user: User) -> None:
    user.password = make_password(NEW)
    user.save()


def set_unusable_password(_: Client, user: User) -> None:
    user.set_unusable_password()
    user.save(update_fields=["password"])


def set_password_of_proxy_model(_: Client, user: User) -> None:
    with isolate_apps("accounts"):

        class Person(User):
            class Meta:
                app_label = "accounts"
                proxy = True

        set_password(_, Person.objects.get(pk=user.pk))


def deactivate(_: Client, user: User) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])


@pytest.mark.parametrize(
    "change",
    [
        *(set_password_in_admin, disable_password_in_admin, deactivate_in_admin),
        *(
            run_changepassword,
            set_password,
            save_only_password_field,
            assign_password_hash,
            set_unusable_password,
        ),
        *(set_password_of_proxy_model, deactivate),
    ],
)
def test_password_change_or_deactivation_revokes_tokens(
    admin: Client, user: User, change: Callable[[Client, User], None]
) -> None:
    token = request_token(user)
    other = request_token(User.objects.create_user("other", password=PASSWORD))
    assert api_status(token) == 200

    change(admin, user)
    # The token stays revoked when the account is active again.
    User.objects.filter(pk=user.pk).update(is_active=True)

    assert (api_status(token), api_status(other)) == (401, 200)


def test_new_password_gets_a_new_token(user: User) -> None:
    token = request_token(user)
    set_password(Client(), user)

    new = request_token(user, NEW)

    assert new != token
    assert api_status(new) == 200


def test_email_change_and_password_rehash_keep_tokens(user: User, settings: Settings) -> None:
    token = request_token(user)

    user.email = "someone@example.com"
    user.save()
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        *settings.PASSWORD_HASHERS,
    ]
    before = user.password
    assert Client().login(username=user.username, password=PASSWORD)

    user.refresh_from_db()
    assert user.password != before
    assert user.last_login
    assert api_status(token) == 200
