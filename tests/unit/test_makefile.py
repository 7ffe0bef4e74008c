"""The Makefile's tasks that need neither packages nor an engine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.tree import ROOT

MADE = (".venv/bin/python", ".venv-eb/.eb", "var/db.sqlite3", "var/broker/message", "var/.hidden")


def test_clean_removes_what_was_made_and_nothing_else(tmp_path: Path) -> None:
    kept = {
        tmp_path / "Makefile",
        tmp_path / "var/.gitignore",
        tmp_path / "var/stackctl/x/releases",
    }
    for path in kept | {tmp_path / name for name in MADE}:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    shutil.copy(ROOT / "Makefile", tmp_path)

    subprocess.run(["make", "-s", "clean"], cwd=tmp_path, capture_output=True, check=True)

    assert {path for path in tmp_path.rglob("*") if path.is_file()} == kept


def script(path: Path, text: str) -> None:
    """Write a shell script in place of a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_lock_installs_what_it_has_locked(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    script(tmp_path / "requirements/lock", "echo new >>requirements/test.txt")
    script(tmp_path / "requirements/install", 'cp "requirements/$1.txt" ".venv/.$1"')
    locked, installed = tmp_path / "requirements/test.txt", tmp_path / ".venv/.test"
    locked.write_text("old\n")
    installed.parent.mkdir()
    installed.write_text("old\n")
    # Up to date: installed after it was locked.
    os.utime(locked, (1, 1))
    os.utime(installed, (2, 2))

    subprocess.run(["make", "-s", "lock"], cwd=tmp_path, check=True)

    assert installed.read_text() == "old\nnew\n"


def test_format_prints_only_what_it_does_not_fix(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    script(tmp_path / ".venv/bin/ruff", f'exec "{sys.executable}" -m ruff "$@"')
    (tmp_path / "fixed.py").write_text(f"NAMES = [{', '.join(['12345678'] * 12)}]\n")
    (tmp_path / "left.py").write_text("print(unknown)\n")

    make = ["make", "-s", "-o", ".venv/.test", "format"]
    done = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert "unknown" in done.stdout
    assert "fixed.py" not in done.stdout
    assert (tmp_path / "fixed.py").read_text().startswith("NAMES = [\n")


def test_lint_leaves_out_deleted_files_that_git_still_lists(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests/lint", tmp_path / "tests")
    for name in ("ruff", "mypy", "lint-imports", "python"):
        script(tmp_path / ".venv/bin" / name, "")
    for name in ("shellcheck", "yamllint", "hadolint"):
        script(tmp_path / ".venv/bin" / name, f'for file; do echo "{name} $file"; done')
    for state in ("kept", "deleted"):
        script(tmp_path / f"{state}-script", "")
        (tmp_path / f"{state}.yaml").touch()
        (tmp_path / f"Dockerfile.{state}").touch()
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__init__.py").touch()
    (tmp_path / ".gitignore").write_text(".venv\n")
    for command in (["git", "init", "-q"], ["git", "add", "."]):
        subprocess.run(command, cwd=tmp_path, check=True)
    for name in ("deleted-script", "deleted.yaml", "Dockerfile.deleted"):
        (tmp_path / name).unlink()

    done = subprocess.run(["tests/lint"], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if "--" not in line] == [
        "shellcheck kept-script",
        "shellcheck tests/lint",
        "yamllint kept.yaml",
        "hadolint Dockerfile.kept",
    ]
