"""The container's entrypoint, for platforms that pass only variables: migrations, role, release."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.sqlite3.base import DatabaseWrapper

from ops.database.locks import exclusive_lock
from ops.environment.contract import VARIABLES
from tests.tree import ROOT, copy_tree
from tests.waiting import eventually

STARTED = "supervisord was started"
WORKS = "the worker was started"
LATEST = max(path.stem for path in (ROOT / "ops/migrations").glob("[0-9]*.py"))
BROKEN = f"""
from django.db import migrations

def fail(apps, schema_editor):
    raise RuntimeError("this migration is broken")

class Migration(migrations.Migration):
    dependencies = [("ops", "{LATEST}")]
    operations = [migrations.RunPython(fail)]
"""


class Start:
    """One run of the entrypoint, with fake supervisord and worker."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        tree: Path = ROOT,
        script: Path = ROOT / "supervisor/entrypoint",
        **variables: str,
    ) -> None:
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir(parents=True)
        supervisord = programs / "supervisord"
        supervisord.write_text(
            f'#!/bin/sh\necho "slow workers: $SLOW_PROGRAM."\necho "{STARTED}, release $RELEASE"\n'
            'echo "process $$"\n'
        )
        supervisord.chmod(0o755)
        python = programs / "python"
        python.write_text(
            '#!/bin/sh\n[ "$*" != "manage.py worker" ] || '
            f'{{ echo "{WORKS}"; echo "process $$"; exit 0; }}\n'
            f'exec "{sys.executable}" "$@"\n'
        )
        python.chmod(0o755)
        self.log = folder / "log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                ["sh", str(script), *arguments],
                cwd=tree,
                env={
                    "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                    "DJANGO_READ_DOTENV": "false",
                    # Faster to load than the local layer, which has the debug toolbar.
                    "DJANGO_SETTINGS_MODULE": "mysite.settings.test",
                    "DATABASE_URL": f"sqlite:///{folder.parent}/db.sqlite3",
                    **variables,
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def ended(self) -> int:
        return self.process.wait(60)

    @property
    def applied(self) -> list[str]:
        return re.findall(r"Applying (\S+)\.\.\. OK", self.said)


@pytest.mark.parametrize("command", ["check", "serve", "worker", "migrate"])
def test_entrypoint_refuses_to_start_without_the_broker_client(
    tmp_path: Path, command: str
) -> None:
    without = tmp_path / "without"
    without.mkdir()
    (without / "sitecustomize.py").write_text('import sys\nsys.modules["confluent_kafka"] = None\n')

    start = Start(
        tmp_path / "start",
        command,
        PYTHONPATH=str(without),
        BROKER="kafka",
        BROKER_HOST="broker",
    )

    assert start.ended() == 1
    assert "its client is not installed here" in start.said and "Traceback" not in start.said


def test_server_does_not_migrate_by_default(tmp_path: Path) -> None:
    start = Start(tmp_path / "one", "serve")

    assert start.ended() == 0
    assert STARTED in start.said
    assert not (tmp_path / "db.sqlite3").exists()


@pytest.mark.parametrize("app_server", VARIABLES["APP_SERVER"].choices)
@pytest.mark.parametrize("paths", ["", " , ", "/reports/"])
def test_server_has_a_second_pool_of_workers_only_with_slow_paths(
    tmp_path: Path, app_server: str, paths: str
) -> None:
    start = Start(tmp_path / "one", "serve", APP_SERVER=app_server, SLOW_PATHS=paths)

    assert start.ended() == 0
    program = f"programs/slow-{app_server}.conf"
    assert f"slow workers: {program if '/' in paths else ''}." in start.said
    assert (ROOT / "supervisor" / program).is_file()


def test_server_migrates_before_it_starts_with_run_migrations(tmp_path: Path) -> None:
    start = Start(tmp_path / "one", "serve", RUN_MIGRATIONS="on")

    assert start.ended() == 0
    assert "ops.0001_initial" in start.applied
    assert start.said.rindex("Applying") < start.said.index(STARTED)


def test_one_of_two_servers_that_start_at_once_migrates(
    database: DatabaseWrapper, tmp_path: Path
) -> None:
    with exclusive_lock(database, "migrate", 5, lambda line: None):
        starts = [Start(tmp_path / name, "serve", RUN_MIGRATIONS="true") for name in ("one", "two")]
        eventually(
            lambda: all("another process holds the lock" in start.said for start in starts),
            seconds=60,
            what="both wait for the lock",
        )
        assert not any(STARTED in start.said for start in starts)

    assert [start.ended() for start in starts] == [0, 0]
    assert all(STARTED in start.said for start in starts)
    assert sorted(bool(start.applied) for start in starts) == [False, True]


def test_entrypoint_finishes_migrations_on_sigterm_and_starts_no_server(
    database: DatabaseWrapper, tmp_path: Path
) -> None:
    with exclusive_lock(database, "migrate", 5, lambda line: None):
        start = Start(tmp_path / "one", "serve", RUN_MIGRATIONS="true")
        eventually(
            lambda: "another process holds the lock" in start.said, seconds=60, what="it waits"
        )
        start.process.terminate()

    assert start.ended() == 143
    assert start.applied and STARTED not in start.said


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_signals_of_a_stop_reach_the_program_without_a_shell(tmp_path: Path, command: str) -> None:
    start = Start(tmp_path / "one", command)

    assert start.ended() == 0
    assert f"process {start.process.pid}\n" in start.said


def test_server_does_not_start_after_a_failed_migration(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    (tree / "ops/migrations/9999_broken.py").write_text(BROKEN)
    start = Start(tmp_path / "one", "serve", tree=tree, RUN_MIGRATIONS="true")

    assert start.ended() == 1
    assert "this migration is broken" in start.said
    assert "the migrations failed (above), so this server is not started" in start.said
    assert STARTED not in start.said


def test_server_does_not_start_without_a_usable_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nowhere/db.sqlite3"
    start = Start(tmp_path / "one", "serve", RUN_MIGRATIONS="true", DATABASE_URL=url)

    assert start.ended() == 1
    assert "cannot be used" in start.said and "Traceback" not in start.said
    assert STARTED not in start.said


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(("serve",), {"CONTAINER_COMMAND": "worker"}), (("worker",), {})],
    ids=["by variable", "by command"],
)
def test_container_command_selects_the_worker(
    tmp_path: Path, arguments: tuple[str, ...], variables: Any
) -> None:
    start = Start(tmp_path / "one", *arguments, **variables)

    assert start.ended() == 0
    assert WORKS in start.said and STARTED not in start.said


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_restarted_container_resets_its_metrics(tmp_path: Path, command: str) -> None:
    """On Elastic Beanstalk the folder is no tmpfs, and survives a restart."""
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    (metrics / "counter_1.db").touch()

    start = Start(tmp_path / "one", command, PROMETHEUS_MULTIPROC_DIR=str(metrics))

    assert start.ended() == 0 and list(metrics.glob("*")) == []


def test_command_argument_overrides_container_command(tmp_path: Path) -> None:
    start = Start(tmp_path / "one", "echo", "hello", CONTAINER_COMMAND="worker")

    assert (start.ended(), start.said) == (0, "hello\n")


def test_unknown_container_command_is_refused(tmp_path: Path) -> None:
    start = Start(tmp_path / "one", "serve", CONTAINER_COMMAND="wroker")

    assert start.ended() == 1
    assert "CONTAINER_COMMAND" in start.said and "worker" in start.said
    assert STARTED not in start.said


@pytest.mark.parametrize(
    ("commit", "passed", "shown"),
    [
        ("$Format:%h$", {}, ""),
        ("$Format:%h$", {"RELEASE": "v7"}, "v7"),
        ("1a2b3c4", {"RELEASE": "unreleased"}, "1a2b3c4"),
        ("1a2b3c4", {"RELEASE": "v7"}, "v7"),
    ],
)
def test_release_is_the_commit_of_the_archive_unless_set(
    tmp_path: Path, commit: str, passed: Any, shown: str
) -> None:
    script = tmp_path / "entrypoint"
    script.write_text((ROOT / "supervisor/entrypoint").read_text().replace("$Format:%h$", commit))
    start = Start(tmp_path / "one", "serve", script=script, **passed)

    assert start.ended() == 0
    assert f"{STARTED}, release {shown}\n" in start.said
