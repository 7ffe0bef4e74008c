"""A user model without username: users sign in by email, and a further field is required."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.tree import ROOT
from tests.unit.forks import run_forked

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
# Runs `manage.py migrate_with_lock` with the variables of each case.
MIGRATE = """
import io, json, os, sys
from contextlib import redirect_stderr
import django
from django.core.management import execute_from_command_line
django.setup()
from accounts.models import User

ended = []
cases = json.loads(sys.argv[1])
for case, again in zip(cases, [*cases[1:], None]):
    os.environ |= {f"DJANGO_SUPERUSER_{name}": value for name, value in case.items()}
    code, errors = 0, io.StringIO()
    with redirect_stderr(errors):
        try:
            execute_from_command_line(["manage.py", "migrate_with_lock"])
        except SystemExit as end:
            code = end.code
    users = [(u.email, u.city, u.check_password(case["PASSWORD"])) for u in User.objects.all()]
    ended.append([code, errors.getvalue(), users])
    for name in case:
        del os.environ[f"DJANGO_SUPERUSER_{name}"]
    # A repeated case finds the user of the first run.
    if case != again:
        User.objects.all().delete()
print(json.dumps(ended))
"""
VISIT = """
import re
import django
django.setup()
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.test.utils import setup_test_environment

call_command("migrate_with_lock")
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


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An accounts app with this model and its migration, first in the import path."""
    app = tmp_path / "accounts"
    shutil.copytree(ROOT / "accounts", app)
    (app / "models.py").write_text(MODELS)
    (app / "admin.py").write_text(ADMIN)
    (app / "migrations/0001_initial.py").unlink()
    in_project(tmp_path, "-m", "django", "makemigrations", "accounts")
    return tmp_path


def in_project(folder: Path, *command: str, **variables: str) -> str:
    """Run a Python command that must succeed in the project, and return what it prints."""
    done = run_forked(
        *command,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "mysite.settings.test",
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            **variables,
        },
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_first_superuser_is_created_for_a_user_model_with_email_login(project: Path) -> None:
    """Under either variable, once; a missing or wrong value is named."""
    good = {"USERNAME": "Chief@Example.com", "PASSWORD": PASSWORD, "CITY": "Paris"}
    by_email = {"EMAIL" if name == "USERNAME" else name: good[name] for name in good}
    refused = {
        # Django's own message, in the language of the project.
        "the first superuser cannot be created": {"USERNAME": "chief"},
        "User requires city. Set it, and declare it in mysite/environment.py": {"CITY": ""},
        "at most 20 characters": {"CITY": "x" * 21},
    }
    cases = [good, good, by_email, by_email, *({**good, **wrong} for wrong in refused.values())]

    output = in_project(project, "-c", MIGRATE, json.dumps(cases))

    ended = json.loads(output.splitlines()[-1])
    assert ended[:4] == [[0, "", [["Chief@Example.com", "Paris", True]]]] * 4
    for (code, errors, users), message in zip(ended[4:], refused, strict=True):
        assert (code, users) == (1, [])
        assert message in errors and PASSWORD not in errors


def test_login_admin_and_tokens_work_without_username(project: Path) -> None:
    variables = {"USERNAME": "chief@example.com", "PASSWORD": PASSWORD, "CITY": "Paris"}

    in_project(
        project,
        *("-c", VISIT),
        **{f"DJANGO_SUPERUSER_{name}": value for name, value in variables.items()},
    )
