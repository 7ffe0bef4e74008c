"""The first superuser from variables: once, never weak, never shown."""

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from ops import environment
from ops.superuser import SuperuserRefusedError, ensure_superuser

User = get_user_model()

pytestmark = pytest.mark.django_db

PASSWORD = "a-good-pass-phrase-7"


def env(**variables: str) -> environment.Environment:
    """Return an environment of the test layer."""
    named = {f"DJANGO_SUPERUSER_{name}": value for name, value in variables.items()}
    return environment.load({"DJANGO_SETTINGS_MODULE": "mysite.settings.test", **named})


def test_first_superuser_is_created_once() -> None:
    named = env(USERNAME="chief", PASSWORD=PASSWORD, EMAIL="chief@example.com")

    assert ensure_superuser(named) == "chief"

    chief = User.objects.get()
    assert (chief.is_superuser, chief.is_staff, chief.email) == (True, True, "chief@example.com")
    assert chief.check_password(PASSWORD)
    chief.set_password("changed-since-then-1")
    chief.save()
    assert ensure_superuser(named) == ""
    assert User.objects.get().check_password("changed-since-then-1")


def test_no_superuser_is_created_without_variables_or_next_to_another() -> None:
    assert ensure_superuser(env()) == ""
    User.objects.create_superuser("there")

    assert ensure_superuser(env(USERNAME="chief", PASSWORD=PASSWORD)) == ""
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"USERNAME": "chief"}, "DJANGO_SUPERUSER_PASSWORD is not set"),
        ({"USERNAME": "chief", "PASSWORD": "12345678"}, "too common"),
        ({"USERNAME": "a b", "PASSWORD": PASSWORD}, "valid username"),
        ({"USERNAME": "chief", "PASSWORD": PASSWORD, "EMAIL": "x"}, "valid email"),
        ({"USERNAME": "taken", "PASSWORD": PASSWORD}, "a user already"),
    ],
)
def test_invalid_superuser_is_refused_without_showing_its_password(
    variables: dict[str, str], message: str
) -> None:
    User.objects.create_user("taken")

    with pytest.raises(SuperuserRefusedError, match=message) as caught:
        ensure_superuser(env(**variables))

    assert variables.get("PASSWORD", "-none-") not in str(caught.value)
    assert not User.objects.filter(is_superuser=True).exists()


def test_ensure_superuser_creates_the_superuser_and_reports_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_USERNAME", "chief")
    with pytest.raises(CommandError, match="DJANGO_SUPERUSER_PASSWORD is not set"):
        call_command("ensure_superuser")

    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    for _ in range(2):
        call_command("ensure_superuser")

    assert capsys.readouterr().out == "created the superuser chief\nno superuser was created\n"
