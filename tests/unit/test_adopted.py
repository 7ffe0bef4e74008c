"""A project's own settings as the base of the layers (ops/settings/adopted.py)."""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ops.environment import Environment
from ops.settings import adopted
from ops.settings.mail import own_mail_settings
from tests.tree import ROOT
from tests.unit.forks import run_forked
from tools.tailor.adopt import write_layers

SETTINGS = """
import os
os.environ.setdefault("DB_NAME", "from a .env of its own")
from pathlib import Path

BASE_DIR = str(Path(__file__).resolve().parent.parent)
SECRET_KEY = os.environ["SITE_KEY"]
DEBUG = True
ALLOWED_HOSTS = []
SHELF = os.environ["SHELF"]
INSTALLED_APPS = [
    "whitenoise.runserver_nostatic",
    "django.contrib.admin",
    "django.contrib.auth.apps.AuthConfig",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "library",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "books.urls"
ASGI_APPLICATION = "books.routing.application"
TEMPLATES = [
    {"BACKEND": "django.template.backends.jinja2.Jinja2"},
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [os.path.join(BASE_DIR, "pages")],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
TEMPLATES.pop(0)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["SITE_DB"],
        "ATOMIC_REQUESTS": True,
        "TEST": {"NAME": "shelves"},
    },
}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
    "covers": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "TIMEOUT": 60},
}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    "archive": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
}
STATIC_URL = "assets/"
LANGUAGE_CODE = "de"
SECURE_SSL_REDIRECT = True
SESSION_COOKIE_SECURE = True
SECURE_REFERRER_POLICY = "origin"
SILENCED_SYSTEM_CHECKS = ["security.W004"]
LOGGING = {"version": 2}
REST_FRAMEWORK = {"PAGE_SIZE": 7, "DEFAULT_THROTTLE_RATES": {"covers": "5/hour"}}
AUTH_USER_MODEL = "library.Reader"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
"""
FILES = {
    "books/__init__.py": "from .tasks_app import app\n",
    "books/tasks_app.py": """from celery import Celery
app = Celery("books")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.beat_schedule = {"dust": {"task": "books.dust", "schedule": 60}}
app.autodiscover_tasks()

@app.task(name="books.dust")
def dust():
    pass
""",
    "books/settings.py": SETTINGS,
    "books/urls.py": """from django.contrib import admin
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path, re_path

def handler(request, exception):
    return HttpResponse("no such book", status=404)

handler404 = "books.urls.handler"
urlpatterns = [
    path("admin/", admin.site.urls),
    path("", lambda request: render(request, "home.html")),
    re_path("^shelf/(.*)$", lambda request, name: HttpResponse(name)),
]
""",
    "pages/home.html": "the books of {{ request.get_host }}\n",
    "library/__init__.py": "",
    "library/models.py": """from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.models import BaseUserManager, PermissionsMixin
from django.db import models


class Readers(BaseUserManager):
    def create_superuser(self, email, password):
        reader = self.model(email=email, is_superuser=True, is_staff=True)
        reader.set_password(password)
        reader.save()
        return reader


class Reader(AbstractBaseUser, PermissionsMixin):
    email = models.EmailField(unique=True)
    is_staff = models.BooleanField(default=False)
    USERNAME_FIELD = EMAIL_FIELD = "email"
    objects = Readers()
""",
    "library/migrations/__init__.py": "",
}
SITE_REPORT = """
import json, os, sys
import mysite.wsgi
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from ops.celery import app

call_command("makemigrations", "--check", "ops", verbosity=0)
call_command("makemigrations", "library", verbosity=0)
call_command("migrate", verbosity=0)
call_command("collectstatic", interactive=False, verbosity=0)
client = Client(headers={"Host": "www.example.com", "Accept": "text/html,*/*;q=0.8"})
print(json.dumps({
    "answers": {path: (answer.status_code, answer.content.decode(errors="replace"))
                for path in sys.argv[1:]
                if (answer := client.get(path, secure=True))},
    "settings": {name: getattr(settings, name, None) for name in dir(settings) if name.isupper()},
    "beat": list(app.conf.beat_schedule), "app": app.main, "tasks": "books.dust" in app.tasks,
    "left": sorted({"SHELF", "SITE_KEY", "SITE_DB", "DB_NAME"} & set(os.environ)),
    "broker": app.conf.broker_url,
}, default=str))
"""
PATHS = ("/", "/livez", "/profile/", "/status/", "/shelf/a", "/none/", "/admin/login/")
VARIABLES = """
from ops.environment.variable import SHARED, Variable

VARIABLES = (Variable(name="SHELF", help="The first shelf.", required_in=SHARED),)
"""

# In one process, so that each layer starts once for all tests.
pytestmark = pytest.mark.xdist_group("adopted")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the stack in an adopted project."""
    project = tmp_path_factory.mktemp("books")
    for name, text in FILES.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    stack = project / "stack"
    for name in ("mysite", "ops", "templates"):
        shutil.copytree(ROOT / name, stack / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", stack)
    write_layers(
        stack / "mysite",
        dict.fromkeys(("local", "dev", "production", "test"), "books.settings"),
        unused=("SITE_KEY", "SITE_DB"),
        celery="books.tasks_app.app",
    )
    (stack / "mysite/environment.py").write_text(VARIABLES)
    return stack


def run(stack: Path, layer: str, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the stack's folder."""
    return run_forked(
        *command,
        cwd=stack,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": f"mysite.settings.{layer}",
            "DJANGO_ALLOWED_HOSTS": "www.example.com",
            "DJANGO_SECRET_KEY": "k3y-" + "abcdefghij" * 6,
            "DATABASE_URL": f"sqlite:///{stack.parent}/{layer}.sqlite3",
            "STATIC_ROOT": str(stack.parent / layer),
            "REDIS_URL": "redis://:pa55word@127.0.0.1:9",
            "SHELF": "A7",
            **more,
        },
    )


@cache
def site_report(stack: Path, layer: str) -> dict[str, Any]:
    """Return the settings and responses of the layer, after migrate and collectstatic."""
    done = run(stack, layer, "-c", SITE_REPORT, *PATHS)
    assert not done.returncode, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("layer", ["local", "production"])
def test_adopted_project_serves_its_own_urls_and_those_of_the_stack(
    stack: Path, layer: str
) -> None:
    answers = site_report(stack, layer)["answers"]

    assert answers["/"] == [200, "the books of www.example.com\n"]
    assert answers["/livez"] == [200, "alive\n"]
    assert f'"settings":"{layer}"' in answers["/profile/"][1].replace('": "', '":"')
    assert answers["/status/"][0] == answers["/admin/login/"][0] == 200
    assert answers["/shelf/a"] == [200, "a"]
    assert answers["/none/"][0] == 404
    assert answers["/none/"][1] == "no such book" or layer == "local"


def test_project_settings_stay_unless_the_stack_sets_them(stack: Path) -> None:
    result = site_report(stack, "production")
    settings = result["settings"]

    assert settings["INSTALLED_APPS"][0] == "django.contrib.admin"
    assert settings["INSTALLED_APPS"].count("django.contrib.auth") == 0
    assert settings["INSTALLED_APPS"][-1] == "ops" and "library" in settings["INSTALLED_APPS"]
    assert settings["MIDDLEWARE"][0] == "ops.middleware.ProbeMiddleware"
    assert settings["MIDDLEWARE"][-1] == "ops.middleware.DatabaseOutageMiddleware"
    assert "whitenoise" not in str(settings["MIDDLEWARE"] + settings["INSTALLED_APPS"])
    assert "django_structlog" not in str(settings["MIDDLEWARE"])
    database = settings["DATABASES"]["default"]
    assert "sqlite" in database["ENGINE"] and database["ATOMIC_REQUESTS"] is True
    assert database["TEST"]["NAME"] == "shelves"
    assert settings["CACHES"]["covers"] == {
        **settings["CACHES"]["default"],
        "KEY_PREFIX": "covers",
        "TIMEOUT": 60,
    }
    assert settings["STORAGES"].keys() == {"default", "staticfiles", "archive"}
    assert "Manifest" in settings["STORAGES"]["staticfiles"]["BACKEND"]
    assert settings["STATIC_URL"] == "/static/" and settings["LANGUAGE_CODE"] == "de"
    assert settings["DEBUG"] is False and settings["SECRET_KEY"].startswith("k3y")
    assert settings["SECURE_REFERRER_POLICY"] == "origin"
    assert "security.W004" in settings["SILENCED_SYSTEM_CHECKS"]
    assert settings["ASGI_APPLICATION"] == "books.routing.application"
    assert settings["REST_FRAMEWORK"]["PAGE_SIZE"] == 7
    assert {"covers", "login"} <= settings["REST_FRAMEWORK"]["DEFAULT_THROTTLE_RATES"].keys()
    assert settings["SHELF"] == "A7" and settings["LOGGING"]["version"] == 1


def test_local_layer_turns_off_the_project_https_redirect(stack: Path) -> None:
    settings = site_report(stack, "local")["settings"]
    assert not settings["SECURE_SSL_REDIRECT"] and not settings["SESSION_COOKIE_SECURE"]


def test_project_celery_application_runs_its_tasks_on_the_stack_broker(stack: Path) -> None:
    result = site_report(stack, "production")
    assert (result["app"], result["beat"], result["tasks"]) == ("books", ["dust"], True)
    assert result["broker"].startswith("redis://")


def test_variables_that_only_project_settings_read_are_removed_from_the_environment(
    stack: Path,
) -> None:
    assert site_report(stack, "production")["left"] == ["SHELF"]


@pytest.mark.parametrize(
    ("layer", "url", "theirs"),
    [("production", "", True), ("local", "", False), ("production", "smtp://relay", False)],
)
def test_mail_settings_of_the_project_apply_unless_email_url_is_set(
    layer: str, url: str, theirs: bool
) -> None:
    """In the local layer none apply: a laptop sends no real mail."""
    environment = Environment(layer, building=False, values={"EMAIL_URL": url})
    own = {"EMAIL_HOST": "theirs", "DEFAULT_FROM_EMAIL": "a@example.com", "LOGGING": {}}
    stack = {
        "EMAIL_HOST": "ours",
        "DEFAULT_FROM_EMAIL": "b@example.com",
        "LOGGING": {},
        "OWN_MAIL_SETTINGS": own_mail_settings(environment),
    }

    kept = adopted.kept(own, stack)
    assert set(kept) == ({"EMAIL_HOST", "DEFAULT_FROM_EMAIL"} if theirs else set())


def test_ensure_superuser_supports_a_user_model_without_username(stack: Path) -> None:
    site_report(stack, "production")
    done = run(
        stack,
        "production",
        *("manage.py", "ensure_superuser"),
        DJANGO_SUPERUSER_EMAIL="ann@example.com",
        DJANGO_SUPERUSER_PASSWORD="a-good-pass-phrase-7",
    )
    assert done.stdout == "created the superuser ann@example.com\n", done.stderr


def test_missing_variable_is_named_without_a_traceback(stack: Path) -> None:
    base = stack / "mysite/settings/base.py"
    text = base.read_text()
    base.write_text(text.replace('    "SITE_DB",\n', ""))
    try:
        done = run(stack, "local", "manage.py", "check")
    finally:
        base.write_text(text)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "books.settings reads SITE_DB, which is not set" in done.stderr


@pytest.mark.parametrize("command", ["check --deploy", "collectstatic --noinput --dry-run"])
def test_commands_of_a_build_run_without_variables(stack: Path, command: str) -> None:
    done = run_forked(
        *("manage.py", *command.split()),
        cwd=stack,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "mysite.settings.production",
            "DJANGO_BUILD": "1",
            "STATIC_ROOT": str(stack.parent / "built"),
        },
    )
    assert not done.returncode, done.stderr[-2000:]
