"""A database that began with Django's own user model keeps its users."""

import os
import subprocess
import sys
from pathlib import Path

from tests.tree import ROOT


def test_change_from_django_user_model_keeps_users_and_can_be_rolled_back(tmp_path: Path) -> None:
    """On SQLite; tests/stack/test_databases.py does the same on MySQL and PostgreSQL."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.adopted_users"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "mysite.settings.test",
            "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "the users were adopted\n", done.stderr[-4000:]
