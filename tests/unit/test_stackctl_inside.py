"""The scripts that run inside database containers, with fake database programs."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.stackctl.commands import restore
from tools.stackctl.inside.databases import MYSQL, POSTGRESQL, RESTORED, DatabaseServer, server_of

Run = Callable[..., "subprocess.CompletedProcess[str]"]
# The table changes while it is dumped.
MYSQLDUMP = """case " $* " in
*" --single-transaction "*) echo 'INSERT 1'; echo 'INSERT 2' ;;
*) echo 'INSERT 1'; echo 'INSERT of later' ;;
esac"""
# Like psql, an error ends it only with ON_ERROR_STOP.
PSQL = """while IFS= read -r line; do
    case $line in
        *BROKEN*) echo "ERROR: $line" >&2; case " $* " in *' ON_ERROR_STOP=1 '*) exit 3 ;; esac ;;
        *) echo "$line" >>"$RAN" ;;
    esac
done"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs a server script, with fake programs first in PATH."""
    programs = {"mysql": "exit 0", "mysqldump": MYSQLDUMP, "psql": PSQL, "pg_dump": "echo SELECT 1"}

    def run(
        server: DatabaseServer, *arguments: str, stdin: str = "", **others: str
    ) -> subprocess.CompletedProcess[str]:
        for name, text in {**programs, **others}.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        environ = {
            **{"PATH": f"{tmp_path}:/usr/bin:/bin", "RAN": str(tmp_path / "ran")},
            **{"MYSQL_DATABASE": "shop", "POSTGRES_DB": "shop", "POSTGRES_USER": "postgres"},
        }
        command = server.command("container", *arguments)[4:]
        return subprocess.run(
            command, env=environ, input=stdin, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize(
    ("image", "server"),
    [
        ("mysql", MYSQL),
        ("mysql:9.7", MYSQL),
        ("registry.example.org:5000/library/mysql:9.7@sha256:0123", MYSQL),
        ("postgres@sha256:0123", POSTGRESQL),
        ("example/postgres:17", POSTGRESQL),
        ("mysql-server:8.4", None),
        ("example/mysql/exporter:1", None),
    ],
)
def test_database_server_is_derived_from_the_image_name(
    image: str, server: DatabaseServer | None
) -> None:
    assert server_of(image) is server


def test_mysql_dump_is_a_single_transaction(run: Run) -> None:
    result = run(MYSQL, "dump")

    assert result.returncode == 0
    assert result.stdout.splitlines()[-3:] == ["INSERT 1", "INSERT 2", MYSQL.dump_end.decode()]


def test_failed_mysql_dump_has_no_end_mark(run: Run) -> None:
    result = run(MYSQL, "dump", mysqldump="echo 'INSERT 1'; echo lost connection >&2; exit 3")

    assert result.returncode == 3 and "lost connection" in result.stderr
    assert MYSQL.dump_end.decode() not in result.stdout


def test_failed_postgresql_dump_returns_its_exit_code(run: Run) -> None:
    assert run(POSTGRESQL, "dump").stdout == "SELECT 1\n"
    assert run(POSTGRESQL, "dump", pg_dump="echo SELECT 1; exit 3").returncode == 3


@pytest.mark.parametrize("role", [[], ["application"]])
def test_postgresql_load_stops_at_the_first_error(run: Run, role: list[str]) -> None:
    result = run(POSTGRESQL, "load", RESTORED, *role, stdin="one\nBROKEN\nthree\n")

    assert result.returncode == 3 and "ERROR: BROKEN" in result.stderr


def test_postgresql_prepare_fails_on_refused_extras(run: Run) -> None:
    assert run(POSTGRESQL, "prepare", RESTORED, stdin="ROLE\n").returncode == 0
    assert run(POSTGRESQL, "prepare", RESTORED, stdin="BROKEN\n").returncode == 3


def test_mysql_load_fails_on_a_refused_dump(run: Run) -> None:
    refuses = 'case "$*" in *stackctl_restore) cat >/dev/null; exit 1 ;; esac'

    assert run(MYSQL, "load", RESTORED, stdin="SELECT 1;").returncode == 0
    assert run(MYSQL, "load", RESTORED, stdin="SELECT 1;", mysql=refuses).returncode == 1


def test_mysql_load_in_a_container_of_an_earlier_release_names_the_command(run: Run) -> None:
    result = run(MYSQL, "load", RESTORED, mysql="exit 1")

    assert result.returncode == 1
    assert "Recreate it: docker compose up --detach --no-deps db" in result.stderr


# Answers as a psql whose steps succeed as often as their variables say.
SWITCHING = """text=$(cat)
count() { echo >>"$RAN.$1"; [ $(wc -l <"$RAN.$1") -gt "$2" ]; }
case $text in
    *'DROP DATABASE'*) [ "${DROPS:-1}" = 1 ] ;;
    *'RENAME TO'*) count renames "${BUSY:-0}" ;;
    *'SELECT count'*) echo "${REPLACED:-0}" ;;
esac"""


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ("", 0),
        # Clients that connect again and again, and for ever.
        ("BUSY=4", 0),
        ("BUSY=5", 8),
        ("BUSY=5 REPLACED=1", 1),
        ("DROPS=0", 8),
    ],
)
def test_postgresql_switch_reports_untouched_data_only_if_the_names_are_as_before(
    run: Run, variables: str, code: int
) -> None:
    """8 is what `restore` takes for untouched data."""
    assert restore.UNTOUCHED == 8

    result = run(POSTGRESQL, "switch", RESTORED, psql=f"{variables}\n{SWITCHING}")

    assert result.returncode == code, result.stderr
