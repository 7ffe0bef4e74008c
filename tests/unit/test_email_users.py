"""A user model without a username: users sign in by email, and it requires a field more."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tree import ROOT

PASSWORD = "a-good-pass-phrase-7"

MODELS = """
from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models

class Users(BaseUserManager):
    def create_superuser(self, email, city, password):
        user = self.model(email=email, city=city, is_superuser=True, is_staff=True)
        user.set_password(password)
        user.save()

class User(AbstractUser):
    username = None
    email = models.EmailField(unique=True)
    city = models.CharField(max_length=20)
    # Required, but the manager's own matter.
    number = models.IntegerField(default=1)
    objects = Users()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = ["city"]
"""
ADMIN = """
from django.contrib import admin
from accounts.models import User

admin.site.register(User)
"""
SHOW = """
import django
django.setup()
from accounts.models import User
print([(u.email, u.city, u.check_password("a-good-pass-phrase-7")) for u in User.objects.all()])
"""
VISIT = """
import re
import django
django.setup()
from django.core import mail
from django.test import Client
from django.test.utils import setup_test_environment

setup_test_environment()
NAME, PASSWORD, NEW = "chief@example.com", "a-good-pass-phrase-7", "another-pass-phrase-8"
account = {"username": NAME, "password": PASSWORD}
client = Client()
form = client.get("/accounts/login/").content.decode()
assert ">Email</label>" in form and 'maxlength="254"' in form, form
assert client.post("/accounts/login/", account).status_code == 302
assert f"Signed in as <strong>{NAME}</strong>" in client.get("/status/").content.decode()
for path in ("/admin/", "/admin/accounts/user/?q=chief", "/api/docs/"):
    assert client.get(path).status_code == 200, path
token = client.post("/api/token/", account).json()["token"]
with_token = {"Authorization": f"Token {token}"}
assert Client().get("/api/schema/", headers=with_token).status_code == 200

client.post("/accounts/password_reset/", {"email": NAME})
assert f"You sign in as: {NAME}" in mail.outbox[0].body
link = re.search(r"http://testserver(/\\S+)", mail.outbox[0].body)[1]
form = client.get(link).headers["Location"]
assert client.post(form, {"new_password1": NEW, "new_password2": NEW}).status_code == 302
assert Client().get("/api/schema/", headers=with_token).status_code == 401
assert Client().post("/admin/login/", account | {"password": NEW}).status_code == 302
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An accounts app with that model and its migration, which is found before the project's."""
    folder = tmp_path_factory.mktemp("email")
    app = folder / "accounts"
    shutil.copytree(ROOT / "accounts", app)
    (app / "models.py").write_text(MODELS)
    (app / "admin.py").write_text(ADMIN)
    (app / "migrations/0001_initial.py").unlink()
    done = in_project(folder, "-m", "django", "makemigrations", "accounts")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def emails(project: Path) -> Path:
    """The project with an empty database."""
    (project / "db.sqlite3").unlink(missing_ok=True)
    return project


def in_project(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    named = {f"DJANGO_SUPERUSER_{name}": value for name, value in variables.items()}
    own = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "mysite.settings.test",
        "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
    }
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**own, **named},
        capture_output=True,
        text=True,
        check=False,
    )


def migrate(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return in_project(folder, "-m", "django", "migrate_with_lock", **variables)


@pytest.mark.parametrize("name", ["USERNAME", "EMAIL"])
def test_a_user_model_with_email_login_gets_its_superuser(emails: Path, name: str) -> None:
    given = {name: "Chief@Example.com", "PASSWORD": PASSWORD, "CITY": "Paris"}

    for _ in range(2):
        done = migrate(emails, **given)
        assert done.returncode == 0, done.stderr

    shown = in_project(emails, "-c", SHOW).stdout.strip()
    assert shown == "[('Chief@Example.com', 'Paris', True)]"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"USERNAME": "chief"}, "Enter a valid email address."),
        ({"CITY": ""}, "DJANGO_SUPERUSER_CITY is not set, and User requires city"),
        ({"CITY": "x" * 21}, "at most 20 characters"),
    ],
)
def test_a_required_field_that_is_missing_or_wrong_is_named(
    emails: Path, given: dict[str, str], message: str
) -> None:
    good = {"USERNAME": "chief@example.com", "PASSWORD": PASSWORD, "CITY": "Paris"}

    done = migrate(emails, **{**good, **given})

    assert done.returncode != 0
    assert message in done.stderr and "Traceback" not in done.stderr
    assert PASSWORD not in done.stderr


def test_pages_admin_and_tokens_assume_no_username(emails: Path) -> None:
    migrate(emails, USERNAME="chief@example.com", PASSWORD=PASSWORD, CITY="Paris")

    done = in_project(emails, "-c", VISIT)

    assert done.returncode == 0, done.stderr[-4000:]
