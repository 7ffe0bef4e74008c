"""What the databases' start scripts do with the files of another version."""

import subprocess
from pathlib import Path

import pytest

from tests.tree import ROOT


def start(script: str, folder: Path, data: str, programs: dict[str, str]) -> tuple[int, str]:
    """Run a start script on a folder in place of `data`; return its exit code and last line."""
    for name, text in {**programs, "docker-entrypoint.sh": "echo started"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", (ROOT / script).read_text().replace(data, str(folder / "data"))],
        env={"PATH": f"{folder}:/usr/bin:/bin", "PGDATA": f"{folder}/data/18/docker"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()[-1]


# remove_postgres: begin
MOUNTED = ("PG_VERSION", "data/PG_VERSION", "18/docker/PG_VERSION", "data/18/docker/PG_VERSION")


@pytest.mark.parametrize("file", MOUNTED)
@pytest.mark.parametrize("version", [17, 18])
def test_postgres_starts_on_the_files_of_its_version_alone(
    tmp_path: Path, file: str, version: int
) -> None:
    """Wherever the volume is mounted."""
    (tmp_path / "data" / file).parent.mkdir(parents=True)
    (tmp_path / "data" / file).write_text(f"{version}\n")
    programs = {"postgres": "echo 'postgres (PostgreSQL) 18.1 (Debian)'", "mountpoint": "exit 1"}

    code, last = start("variants/postgres/start", tmp_path, "/var/lib/postgresql", programs)

    if version == 18:
        assert (code, last) == (0, "started")
    else:
        assert code == 1 and last.startswith("The volume has the data of PostgreSQL 17, which")
        assert "Put postgres:17" in last and "docs/security-updates.md" in last


@pytest.mark.parametrize(("mounted", "code"), [("data", 0), ("data data/data", 1)])
def test_postgres_refuses_a_volume_in_the_place_of_another_version(
    tmp_path: Path, mounted: str, code: int
) -> None:
    """The image's own volume would have the data, until `down` forgets it."""
    (tmp_path / "data").mkdir()
    points = " ".join(f"{tmp_path}/{name}" for name in mounted.split())
    programs = {
        "postgres": "echo 'postgres (PostgreSQL) 18.1'",
        "mountpoint": f'case " {points} " in *" $2 "*) exit 0 ;; esac; exit 1',
    }

    done = start("variants/postgres/start", tmp_path, "/var/lib/postgresql", programs)

    assert done[0] == code
    assert ("has the volume in the place of another version" in done[1]) is bool(code)


# remove_postgres: end
# remove_mysql: begin
@pytest.mark.parametrize(
    ("versions", "code"),
    [([], 0), (["9.7.9"], 0), (["8.4.3", "9.7.1"], 0), (["9.7.4-2", "9.10.0-1"], 1)],
)
def test_mysql_refuses_the_files_of_a_newer_version(
    tmp_path: Path, versions: list[str], code: int
) -> None:
    """Those of an older one it converts."""
    (tmp_path / "data").mkdir()
    entries = ",".join(f'{{"version":"{version}","maturity":"LTS"}}' for version in versions)
    history = f'{{"file_format":"1","upgrade_history":[{entries}]}}'
    (tmp_path / "data/mysql_upgrade_history").write_text(history)
    programs = {"mysqld": "echo '/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64'"}

    done = start("mysql/start", tmp_path, "/var/lib/mysql", programs)

    assert done[0] == code
    refused = "The volume has the data of MySQL 9.10, which version 9.7 cannot read."
    assert done[1].startswith(refused if code else "started")


# remove_mysql: end
