"""The first superuser of a project whose users sign in by e-mail and have a required field more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tree import ROOT

PASSWORD = "a-good-pass-phrase-7"

MODELS = """
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models

class People(BaseUserManager):
    def create_superuser(self, email, city, password):
        person = self.model(email=email, city=city, is_superuser=True)
        person.set_password(password)
        person.save()

class Person(AbstractBaseUser, PermissionsMixin):
    email = models.EmailField(unique=True)
    city = models.CharField(max_length=20)
    # Required, but the manager's own matter.
    number = models.IntegerField(default=1)
    objects = People()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = ["city"]
"""
SETTINGS = """
from mysite.settings.test import *

INSTALLED_APPS = ["people", *(app for app in INSTALLED_APPS if app != "django.contrib.admin")]
AUTH_USER_MODEL = "people.Person"
SILENCED_SYSTEM_CHECKS = ["urls.E007"]
ROOT_URLCONF = "empty"
"""
SHOW = """
import django
django.setup()
from people.models import Person
print([(p.email, p.city, p.check_password("a-good-pass-phrase-7")) for p in Person.objects.all()])
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, with its migration."""
    tmp_path = tmp_path_factory.mktemp("people")
    (tmp_path / "people/migrations").mkdir(parents=True)
    for name, text in {
        "people/__init__.py": "",
        "people/migrations/__init__.py": "",
        "people/models.py": MODELS,
        "own.py": SETTINGS,
        "empty.py": "urlpatterns = []",
    }.items():
        (tmp_path / name).write_text(text)
    assert in_project(tmp_path, "manage.py", "makemigrations", "people").returncode == 0
    return tmp_path


@pytest.fixture
def people(project: Path) -> Path:
    """The project with an empty database."""
    (project / "db.sqlite3").unlink(missing_ok=True)
    return project


def in_project(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    named = {f"DJANGO_SUPERUSER_{name}": value for name, value in variables.items()}
    own = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{folder}:{ROOT}",
        "DJANGO_SETTINGS_MODULE": "own",
        "DJANGO_READ_DOTENV": "false",
        "DJANGO_SECRET_KEY": "k3y-" + "abcdefghij" * 6,
        "DJANGO_ALLOWED_HOSTS": "localhost",
        "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
        "REDIS_URL": "redis://:pa55word@redis:6379",
    }
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**own, **named},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["USERNAME", "EMAIL"])
def test_a_user_model_with_email_login_gets_its_superuser(people: Path, name: str) -> None:
    given = {name: "Chief@Example.com", "PASSWORD": PASSWORD, "CITY": "Paris"}

    for _ in range(2):
        done = in_project(people, "manage.py", "migrate_with_lock", **given)
        assert done.returncode == 0, done.stderr

    shown = in_project(people, "-c", SHOW).stdout.strip()
    assert shown == "[('Chief@Example.com', 'Paris', True)]"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"USERNAME": "chief"}, "Enter a valid email address."),
        ({"CITY": ""}, "DJANGO_SUPERUSER_CITY is not set, and Person requires city"),
        ({"CITY": "x" * 21}, "at most 20 characters"),
    ],
)
def test_a_required_field_that_is_missing_or_wrong_is_named(
    people: Path, given: dict[str, str], message: str
) -> None:
    good = {"USERNAME": "chief@example.com", "PASSWORD": PASSWORD, "CITY": "Paris"}

    done = in_project(people, "manage.py", "migrate_with_lock", **{**good, **given})

    assert done.returncode != 0
    assert message in done.stderr and "Traceback" not in done.stderr
    assert PASSWORD not in done.stderr
