"""A clone with a team's app and every extension of docs/your-app.md."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.tree import ROOT, copy_tree

GERMAN_TRANSLATION = """msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgid "Basket"
msgstr "Warenkorb"
"""
# Files of the app, after `startapp`.
APP = {
    "models.py": """from django.db import models


class Note(models.Model):
    text = models.CharField(max_length=100)
""",
    "tasks.py": """from celery import shared_task
from django.conf import settings

from shop.models import Note


@shared_task
def write_note(text):
    with (settings.PRIVATE_ROOT / "note").open("w") as file:
        file.write(text)
    Note.objects.create(text=text)


@shared_task
def tick():
    Note.objects.create(text="tick")
""",
    "views.py": """from django.conf import settings
from django.http import JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_exempt

from shop.models import Note
from shop.tasks import write_note


def home(request):
    return render(request, "shop/home.html", {"title": gettext("Basket")})


@csrf_exempt
def notes(request):
    if request.method == "POST":
        write_note.delay(request.POST["text"])
    return JsonResponse({"notes": sorted(set(Note.objects.values_list("text", flat=True)))})


def key(request):
    import ldap
    from lxml import etree

    root = etree.Element("key")
    root.text = settings.SHOP_API_KEY[-4:]
    return JsonResponse({"xml": etree.tostring(root).decode(), "ldap": ldap.TLS_AVAIL})
""",
    "urls.py": """from django.urls import path

from shop import views

urlpatterns = [
    path("", views.home),
    path("shop/notes/", views.notes),
    path("shop/key/", views.key),
]
""",
    "tests.py": """from django.test import TestCase


class HomeTests(TestCase):
    def test_home_page(self):
        self.assertContains(self.client.get("/"), "/static/shop/shop")
""",
    "templates/shop/home.html": (
        "{% load static %}<link href=\"{% static 'shop/shop.css' %}\" rel=stylesheet>{{ title }}\n"
    ),
    "static/shop/shop.css": "body { color: navy }\n",
    "locale/de/LC_MESSAGES/django.po": GERMAN_TRANSLATION,
}
VARIABLE = """    Variable(
        name="SHOP_API_KEY",
        help="The key of the payment service.",
        secret=True,
        required_in=frozenset({"production"}),
    ),
"""
SCHEDULE = """CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "tick": {"task": "shop.tasks.tick", "schedule": 1.0},
}
"""


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Return an edit that replaces a text in a file."""

    def edit(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text, f"{name}: {old}"
        path.write_text(text.replace(old, new, 1))

    return edit


def append(name: str, text: str) -> Callable[[Path], None]:
    """Return an edit that appends to a file."""

    def edit(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(text)

    return edit


@dataclass(frozen=True)
class Extension:
    """A row of the table in docs/your-app.md: the edits, and the command after them."""

    edits: tuple[Callable[[Path], None], ...]
    command: tuple[str, ...] = ()


BASE = "mysite/settings/base.py"
EXTENSIONS = {
    "an app": Extension(
        (
            replace(BASE, "INSTALLED_APPS = [\n", 'INSTALLED_APPS = [\n    "shop",\n'),
            replace(
                "mysite/urls.py",
                "urlpatterns = [\n",
                'urlpatterns = [\n    path("", include("shop.urls")),\n',
            ),
        )
    ),
    "a periodic task": Extension(
        (replace(BASE, "CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {}\n", SCHEDULE),)
    ),
    "a variable": Extension(
        (
            replace("mysite/environment.py", "VARIABLES: Final[tuple[Variable, ...]] = ()\n", ""),
            append("mysite/environment.py", f"VARIABLES: Final = (\n{VARIABLE})\n"),
            append(BASE, 'SHOP_API_KEY = env.str("SHOP_API_KEY")\n'),
        ),
        (sys.executable, "manage.py", "env", "write"),
    ),
    # `make lock` also installs it.
    "a Python package": Extension(
        # A compiled wheel, and one that is compiled while the image is built.
        (append("requirements/project.in", "lxml\npython-ldap\n"),),
        ("requirements/lock",),
    ),
    "a language": Extension(
        (
            replace(
                BASE,
                "LANGUAGES = [(LANGUAGE_CODE, LANGUAGE_CODE)]\n",
                'LANGUAGES = [(LANGUAGE_CODE, "English"), ("de", "Deutsch")]\n',
            ),
        )
    ),
    "a Debian package": Extension(
        (append("requirements/apt.txt", "gettext  # translations\r\n\r\nlibldap2\r\n"),)
    ),
    "a Debian package for compiling": Extension(
        (append("requirements/apt-build.txt", "libldap-dev\nlibsasl2-dev\n"),)
    ),
}


def run(folder: Path, *command: str, code: int = 0) -> str:
    """Run a command, assert its exit code, and return its output."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stdout[-8000:]
    return done.stdout


def commit(folder: Path) -> None:
    """Commit everything with a test identity."""
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    run(folder, "git", "add", "--all")
    run(folder, "git", *author, "commit", "--quiet", "--message", "a step")


def changed_files(folder: Path) -> set[str]:
    """Return changed and new files since the last commit."""
    listed = run(folder, "git", "status", "--porcelain", "--untracked-files=all")
    return {line[3:] for line in listed.splitlines()}


@dataclass(frozen=True)
class Team:
    """The clone, and the numbers of edited and generated files of each extension."""

    folder: Path
    files: dict[str, tuple[int, int]]


def create_team_project(folder: Path) -> Team:
    """Create a clone with the app and all extensions, without the example."""
    copy_tree(folder)
    # The users of the containers read the mounted clone.
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    (folder / ".venv").symlink_to(sys.prefix)
    run(folder, "git", "init", "--quiet")
    (folder / ".git/info/exclude").write_text(".venv\n")
    commit(folder)
    run(folder, sys.executable, "manage.py", "remove_demo")  # remove_demo
    commit(folder)  # remove_demo
    run(folder, sys.executable, "manage.py", "startapp", "shop")
    for name, text in APP.items():
        path = folder / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    files: dict[str, tuple[int, int]] = {}
    for name, extension in EXTENSIONS.items():
        before = changed_files(folder)
        for edit in extension.edits:
            edit(folder)
        edited = changed_files(folder)
        if extension.command:
            run(folder, *extension.command)
        files[name] = (len(edited - before), len(changed_files(folder) - edited))
        commit(folder)
    run(folder, sys.executable, "manage.py", "makemigrations", "shop")
    # Like `make format`, which would first install the locked packages.
    run(folder, ".venv/bin/ruff", "check", "--fix", "--exit-zero", ".")
    run(folder, ".venv/bin/ruff", "format", ".")
    commit(folder)
    return Team(folder, files)


def documented_file_counts() -> dict[str, tuple[int, int]]:
    """Return the numbers of files from the table of docs/your-app.md."""
    text = (ROOT / "docs/your-app.md").read_text()
    rows = re.findall(r"^\| (an? [^|]+?) \|.*\| (\d+) \| (\d*) ?\|$", text, re.M)
    return {name: (int(edited), int(written or 0)) for name, edited, written in rows}
