"""The Makefile's tasks that need neither packages nor an engine."""

import shutil
import subprocess
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
