"""The script that MySQL runs at its first start, for any user, password and database.

Stacks of tests/stack have such passwords on a real MySQL.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.tree import ROOT
from tools.stackctl.inside.databases import MYSQL

SCRIPT = ROOT / "mysql/init/application.sh"
RIGHTS = ROOT / "mysql/rights"
# A fake client that records its arguments, password and input.
CLIENT = """#!/bin/bash
[[ -z "${REFUSED:-}" || " $* " != *" --user=$REFUSED "* ]] || exit 1
printf '%s\\n' "$@" >"$SEEN/arguments"
printf %s "${MYSQL_PWD:-}" >"$SEEN/password"
cat >"$SEEN/sql"
"""


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the MySQL container, with a client that records its input."""
    for name in ("mysql", "mysqldump"):
        client = folder / name
        client.write_text(CLIENT)
        client.chmod(0o755)
    return subprocess.run(
        command,
        env={
            "PATH": f"{folder}:{RIGHTS.parent}:{os.environ['PATH']}",
            "SEEN": str(folder),
            **environment,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def started(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Create the application user."""
    usual = {
        "MYSQL_ROOT_PASSWORD": "root's",
        "MYSQL_DATABASE": "mysite",
        "DB_USER": "mysite",
        "DB_PASSWORD": "pa55",
    }
    return run(folder, str(SCRIPT), **usual | environment)


@pytest.mark.parametrize(
    ("password", "text"),
    [
        ("pa55", "'pa55'"),
        ("it's", "'it''s'"),
        # Unescaped: with NO_BACKSLASH_ESCAPES it is an ordinary character.
        ("a\\fb\\", "'a\\fb\\'"),
        ("\\'; DROP USER root; --", "'\\''; DROP USER root; --'"),
        ('$HOME `id` $(id) & "', "'$HOME `id` $(id) & \"'"),
        ("grün\n€", "'grün\n€'"),
    ],
)
def test_mysql_user_is_created_with_any_password(password: str, text: str, tmp_path: Path) -> None:
    done = started(tmp_path, DB_PASSWORD=password)

    assert done.returncode == 0
    sql = (tmp_path / "sql").read_text()
    first = "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES';\n"
    assert sql.startswith(f"{first}CREATE USER 'mysite'@'%' IDENTIFIED BY {text};\n{first}")
    assert password not in (tmp_path / "arguments").read_text()
    assert "--default-character-set=utf8mb4" in (tmp_path / "arguments").read_text()
    assert (tmp_path / "password").read_text() == "root's"


def test_mysql_grant_escapes_wildcards_in_the_database_name(tmp_path: Path) -> None:
    started(tmp_path, DB_USER="o'ne", MYSQL_DATABASE="my_site%")

    sql = (tmp_path / "sql").read_text()
    assert "CREATE USER 'o''ne'@'%'" in sql
    assert r"GRANT ALL ON `my\_site\%`.* TO 'o''ne'@'%';" in sql


@pytest.mark.parametrize("layer", ["local", "dev", "production", ""])
def test_only_the_local_layer_grants_test_databases(tmp_path: Path, layer: str) -> None:
    started(tmp_path, MYSQL_DATABASE="my_site", LAYER=layer)

    grants = (tmp_path / "sql").read_text().splitlines()
    named = [line for line in grants if "test" in line]
    assert named == [r"GRANT ALL ON `test\_my\_site%`.* TO 'mysite'@'%';"] * (layer == "local")


def test_mysql_init_refuses_root_as_db_user(tmp_path: Path) -> None:
    done = started(tmp_path, DB_USER="root")

    assert done.returncode == 1
    assert "DB_USER is root" in done.stderr and "down --volumes" in done.stderr
    assert not (tmp_path / "sql").exists()


@pytest.mark.parametrize("names", [("DB_USER", "DB_PASSWORD"), ("MYSQL_USER", "MYSQL_PASSWORD")])
def test_mysql_of_an_earlier_release_is_dumped_as_the_application_user(
    names: tuple[str, str], tmp_path: Path
) -> None:
    """It has no stackctl account; nothing can be loaded there."""
    user, password = names
    given = {user: "mysite", password: "it's\\", "MYSQL_DATABASE": "mysite", "REFUSED": "stackctl"}

    done = run(tmp_path, *MYSQL.command("db", "dump")[4:], **given)

    assert (done.returncode, done.stderr) == (0, "")
    assert "--user=mysite" in (tmp_path / "arguments").read_text().splitlines()
    assert (tmp_path / "password").read_text() == "it's\\"

    refused = run(tmp_path, *MYSQL.command("db", "load", "other")[4:], **given)

    assert refused.returncode == 1
    assert "docker compose up --detach --no-deps db" in refused.stderr
