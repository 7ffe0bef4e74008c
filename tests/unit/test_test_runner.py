"""`manage.py test`: pytest for the apps of the project, with the test settings."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops.test_runner import own_apps, path_of
from tests.tree import ROOT, copy_tree

TESTS = """
from django.conf import settings
from django.test import TestCase

def test_function():
    assert settings.SETTINGS_MODULE == "mysite.settings.test"

class ShopTests(TestCase):
    def test_class(self):
        assert not self.client.session.keys()
"""


def test_manage_py_test_runs_functions_and_classes_of_a_new_app(tmp_path: Path) -> None:
    """With any DJANGO_SETTINGS_MODULE, as in a container of the stack."""
    tree = copy_tree(tmp_path / "tree")
    (tree / "app_of_this_test").mkdir()
    (tree / "app_of_this_test/__init__.py").touch()
    (tree / "app_of_this_test/tests.py").write_text(TESTS)

    done = subprocess.run(
        [sys.executable, "manage.py", "test", "app_of_this_test.tests"],
        cwd=tree,
        env={"PATH": "/usr/bin:/bin", "DJANGO_SETTINGS_MODULE": "mysite.settings.local"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_manage_py_test_runs_project_apps_by_default() -> None:
    assert "accounts" in own_apps()
    assert not {"ops", "django.contrib.admin"} & set(own_apps())


@pytest.mark.parametrize(
    ("label", "path"),
    [
        ("accounts", "accounts"),
        ("accounts.tests", "accounts/tests"),
        ("accounts.tests.test_sign_in", "accounts/tests/test_sign_in.py"),
        ("accounts/tests", "accounts/tests"),
        ("accounts/tests/test_sign_in.py::test_x", "accounts/tests/test_sign_in.py::test_x"),
    ],
)
def test_manage_py_test_label_is_a_module_or_a_path(
    monkeypatch: pytest.MonkeyPatch, label: str, path: str
) -> None:
    monkeypatch.chdir(ROOT)

    assert path_of(label) == path
