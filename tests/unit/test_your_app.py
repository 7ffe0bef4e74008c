"""The code in docs/your-app.md works."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ops.environment.contract import VARIABLES
from tests.documents import run_documented
from tests.tree import copy_tree
from tests.unit.config_files import text_of


def files_of_guide() -> dict[str, str]:
    """Return the files of the first model, page, static file and test in the guide."""
    text = text_of("docs/your-app.md").partition("### Its first model")[2]
    text = text.partition("\nThen, with")[0]
    blocks = re.findall(r"^`(.+)`:\n\n((?:(?:    .*)?\n)+)", text, re.MULTILINE)
    return {name: re.sub(r"^    ", "", block, flags=re.MULTILINE) for name, block in blocks}


def insert(path: Path, before: str, line: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, f"{line}\n{before}", 1))


def test_first_model_page_and_test_of_the_guide_work(tmp_path: Path) -> None:
    copy_tree(tmp_path)
    guide = text_of("docs/your-app.md")
    app, urls = '    "shop",', '    path("", include("shop.urls")),'
    assert app.strip() in guide and urls.strip() in guide
    files = files_of_guide()

    def run(*command: str) -> str:
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    # A developer's shell, without the settings of these tests.
    shell = {name: text for name, text in os.environ.items() if name not in VARIABLES}

    run_documented(tmp_path, shell, "./manage.py startapp shop")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    insert(tmp_path / "mysite/settings/base.py", '    "ops",', app)
    insert(tmp_path / "mysite/urls.py", '    path("", include("accounts.urls")),', urls)
    run_documented(tmp_path, shell, "./manage.py makemigrations shop")
    run_documented(tmp_path, shell, "./manage.py migrate")
    note = """./manage.py shell --command 'Note.objects.create(text="milk")'"""
    run_documented(tmp_path, shell, note)
    with sqlite3.connect(tmp_path / "var/db.sqlite3") as database:
        assert database.execute("SELECT text FROM shop_note").fetchall() == [("milk",)]
    tests = run("-m", "pytest", "-q", "shop")

    assert len(files) == 6 and "1 passed" in tests
    # As `make format` and `make lint` do.
    run("-m", "ruff", "format", "--quiet", "shop")
    run("-m", "ruff", "check", "--fix", "shop")


@pytest.mark.skipif(
    not (shutil.which("xgettext") or os.environ.get("REQUIRE_STACK_TESTS")),
    reason="gettext is not installed. On Debian: apt-get install gettext",
)
def test_texts_of_an_app_are_collected_as_the_guide_says(tmp_path: Path) -> None:
    copy_tree(tmp_path)
    app = tmp_path / "shop"
    app.mkdir()
    (app / "views.py").write_text(
        "from django.utils.translation import gettext as _\n\n_('Basket')\n"
    )
    (tmp_path / ".venv").symlink_to(sys.prefix)

    run_documented(tmp_path, os.environ, "echo gettext >>requirements/apt.txt")
    run_documented(app, os.environ, "mkdir -p locale")
    run_documented(app, os.environ, "../manage.py makemessages --locale de")

    assert "gettext" in (tmp_path / "requirements/apt.txt").read_text()
    assert 'msgid "Basket"' in (app / "locale/de/LC_MESSAGES/django.po").read_text()
