"""API tokens end with a password change and with the account, and with nothing else."""

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


def token_of(user: User, password: str = PASSWORD) -> str:
    answer = Client().post("/api/token/", {"username": user.username, "password": password})
    return str(answer.json()["token"])


def status(token: str) -> int:
    """Return what the API answers to a token."""
    return Client().get("/api/schema/", headers={"Authorization": f"Token {token}"}).status_code


def in_the_admin(client: Client, user: User) -> None:
    answer = client.post(
        f"/admin/accounts/user/{user.pk}/password/",
        {"password1": NEW, "password2": NEW, "usable_password": "true"},
    )
    assert answer.status_code == 302


def disabled_in_the_admin(client: Client, user: User) -> None:
    answer = client.post(
        f"/admin/accounts/user/{user.pk}/password/",
        {"usable_password": "false", "unset-password": "Disable"},
    )
    assert answer.status_code == 302


def deactivated_in_the_admin(client: Client, user: User) -> None:
    dates = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    answer = client.post(
        f"/admin/accounts/user/{user.pk}/change/", {"username": user.username, **dates}
    )
    assert answer.status_code == 302


def by_command(_: Client, user: User) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("getpass.getpass", lambda **_: NEW)
        call_command("changepassword", user.username)


def in_code(_: Client, user: User) -> None:
    user.set_password(NEW)
    user.save()


def in_code_alone(_: Client, user: User) -> None:
    user.set_password(NEW)
    user.save(update_fields=["password"])


def as_a_hash(_: Client, user: User) -> None:
    user.password = make_password(NEW)
    user.save()


def made_unusable_alone(_: Client, user: User) -> None:
    user.set_unusable_password()
    user.save(update_fields=["password"])


def by_proxy(_: Client, user: User) -> None:
    with isolate_apps("accounts"):

        class Person(User):
            class Meta:
                app_label = "accounts"
                proxy = True

        in_code(_, Person.objects.get(pk=user.pk))


def deactivated(_: Client, user: User) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])


@pytest.mark.parametrize(
    "change",
    [
        *(in_the_admin, disabled_in_the_admin, deactivated_in_the_admin),
        *(by_command, in_code, in_code_alone, as_a_hash, made_unusable_alone),
        *(by_proxy, deactivated),
    ],
)
def test_a_password_change_or_deactivation_revokes_tokens(
    admin: Client, user: User, change: Callable[[Client, User], None]
) -> None:
    token = token_of(user)
    other = token_of(User.objects.create_user("other", password=PASSWORD))
    assert status(token) == 200

    change(admin, user)
    # Not only while it is inactive.
    User.objects.filter(pk=user.pk).update(is_active=True)

    assert (status(token), status(other)) == (401, 200)


def test_a_new_token_is_for_the_new_password(user: User) -> None:
    token = token_of(user)
    in_code(Client(), user)

    new = token_of(user, NEW)

    assert new != token
    assert status(new) == 200


def test_other_changes_and_sign_ins_keep_tokens(user: User, settings: Settings) -> None:
    token = token_of(user)

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
    assert status(token) == 200
