"""`manage.py migrate_with_lock`: of several processes, one migrates."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.backends.sqlite3.base import DatabaseWrapper

from ops.database.locks import exclusive_lock
from ops.database.outage import DatabaseNotReadyError
from ops.management.commands import migrate_with_lock
from tests.tree import ROOT
from tests.waiting import eventually


def environment(database: str) -> dict[str, str]:
    """Return the environment of a command in the test layer, which loads fastest."""
    layer = {"DJANGO_SETTINGS_MODULE": "mysite.settings.test"}
    return {"PATH": os.environ["PATH"], "DATABASE_URL": database, **layer}


class Migration:
    """A process that migrates, and its output."""

    def __init__(self, database: str, log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "migrate_with_lock", *arguments],
                cwd=ROOT,
                env=environment(database),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def waits(self) -> bool:
        return "another process holds the lock" in self.said

    @property
    def applied(self) -> list[str]:
        return re.findall(r"Applying (\S+)\.\.\. OK", self.said)


def test_one_of_two_parallel_migrate_with_lock_migrates(
    database: DatabaseWrapper, tmp_path: Path
) -> None:
    url = f"sqlite:///{database.settings_dict['NAME']}"
    # Both wait for the lock before it is released.
    with exclusive_lock(database, "migrate", 0, print):
        both = [Migration(url, tmp_path / f"{number}.log") for number in range(2)]
        for one in both:
            eventually(one.waits, seconds=60, what="it waits for the lock")
            assert one.applied == []

    codes = [one.process.wait(120) for one in both]

    assert codes == [0, 0], [one.said for one in both]
    amounts = sorted(len(one.applied) for one in both)
    assert amounts[0] == 0
    assert amounts[1] > 10
    assert "ops.0001_initial" in both[0].applied + both[1].applied
    assert "No migrations to apply" in both[0].said + both[1].said


def test_migrate_with_lock_times_out_with_a_message(
    database: DatabaseWrapper, tmp_path: Path
) -> None:
    url = f"sqlite:///{database.settings_dict['NAME']}"
    with exclusive_lock(database, "migrate", 0, print):
        late = Migration(url, tmp_path / "late.log", "--lock-timeout", "1")

        assert late.process.wait(60) == 1

    assert "another process has held the lock 'migrate'" in late.said
    assert "Traceback" not in late.said


def test_migrate_with_lock_fails_at_once_without_a_usable_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/missing/db.sqlite3"
    hopeless = Migration(url, tmp_path / "log", "--wait", "600")

    assert hopeless.process.wait(60) == 1
    assert "cannot be used: unable to open database file" in hopeless.said
    assert "Traceback" not in hopeless.said


def test_migrate_with_lock_drops_the_statement_time_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"read_timeout": 12, "charset": "utf8mb4"}
    begun: list[dict[str, object]] = []

    def stop(connection: Any, *_: object) -> None:
        begun.append(connection.settings_dict["OPTIONS"])
        raise DatabaseNotReadyError("the end of this test")

    connection = SimpleNamespace(settings_dict={"OPTIONS": options})
    monkeypatch.setattr(migrate_with_lock, "connection", connection)
    monkeypatch.setattr(migrate_with_lock, "wait_as_migration_user", stop)

    with pytest.raises(CommandError, match="the end of this test"):
        call_command("migrate_with_lock")

    assert begun == [{"charset": "utf8mb4"}]


@pytest.mark.parametrize("migrations", [True, False])
def test_migrate_with_lock_names_an_app_whose_models_have_no_migration(
    tmp_path: Path, *, migrations: bool
) -> None:
    for app in ("shop", "legacy", "site-packages/package"):
        folder = tmp_path / app
        (folder / "migrations").mkdir(parents=True)
        (folder / "__init__.py").touch()
        if migrations:
            (folder / "migrations/__init__.py").touch()
        else:
            (folder / "migrations").rmdir()
        (folder / "models.py").write_text(
            "from django.db import models\nclass Note(models.Model):\n"
            f"    class Meta: managed = {app != 'legacy'}\n"
        )
    (tmp_path / "local.py").write_text(
        "from mysite.settings.test import *\nINSTALLED_APPS += ['shop', 'legacy', 'package']\n"
    )
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate_with_lock", "--verbosity=0"],
        cwd=ROOT,
        env=environment(f"sqlite:///{tmp_path}/db.sqlite3")
        | {
            "DJANGO_SETTINGS_MODULE": "local",
            "SOURCE_ROOT": str(tmp_path),
            "PYTHONPATH": f"{tmp_path}:{tmp_path}/site-packages",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert " ".join(done.stdout.split()) == (
        "migrate: the models of shop have changes that no migration has: run "
        "./manage.py makemigrations shop, commit the new file, and migrate again"
    )
