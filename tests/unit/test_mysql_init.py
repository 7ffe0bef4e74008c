"""What MySQL runs at its first start, whatever user, password and database are called.

That MySQL takes it so is seen on real ones: the stacks' own passwords have quotes and backslashes.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.tree import ROOT
from tools.stackctl.inside.databases import MYSQL

SCRIPT = ROOT / "mysql/init/application.sh"
# Takes the place of the client: writes down how it was started and what it was told.
CLIENT = """#!/bin/bash
[[ -z "${REFUSED:-}" || " $* " != *" --user=$REFUSED "* ]] || exit 1
printf '%s\\n' "$@" >"$SEEN/arguments"
printf %s "${MYSQL_PWD:-}" >"$SEEN/password"
cat >"$SEEN/sql"
"""


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run what runs in MySQL's container, with a client that only writes down."""
    for name in ("mysql", "mysqldump"):
        client = folder / name
        client.write_text(CLIENT)
        client.chmod(0o755)
    return subprocess.run(
        command,
        env={"PATH": f"{folder}:{os.environ['PATH']}", "SEEN": str(folder), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def started(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Make the application's user."""
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
        # As it is: with NO_BACKSLASH_ESCAPES it is a character like any other.
        ("a\\fb\\", "'a\\fb\\'"),
        ("\\'; DROP USER root; --", "'\\''; DROP USER root; --'"),
        ('$HOME `id` $(id) & "', "'$HOME `id` $(id) & \"'"),
        ("grün\n€", "'grün\n€'"),
    ],
)
def test_a_password_is_what_it_is(password: str, text: str, tmp_path: Path) -> None:
    done = started(tmp_path, DB_PASSWORD=password)

    assert (done.returncode, done.stderr) == (0, "")
    rules, *statements = (tmp_path / "sql").read_text().split("\n", 1)
    assert rules == "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES';"
    assert statements == [
        f"CREATE USER 'mysite'@'%' IDENTIFIED BY {text};\n"
        "GRANT ALL ON `mysite`.* TO 'mysite'@'%';\n"
        "GRANT SELECT ON performance_schema.metadata_locks TO 'mysite'@'%';\n"
        "GRANT SELECT ON performance_schema.data_lock_waits TO 'mysite'@'%';\n"
        "GRANT SELECT (THREAD_ID, PROCESSLIST_ID, PROCESSLIST_USER, PROCESSLIST_HOST, "
        "PROCESSLIST_COMMAND,\n"
        "    PROCESSLIST_TIME) ON performance_schema.threads TO 'mysite'@'%';\n"
    ]
    assert password not in (tmp_path / "arguments").read_text()
    assert "--default-character-set=utf8mb4" in (tmp_path / "arguments").read_text()
    assert (tmp_path / "password").read_text() == "root's"


def test_the_user_gets_the_database_of_its_name_and_none_that_is_like_it(tmp_path: Path) -> None:
    started(tmp_path, DB_USER="o'ne", MYSQL_DATABASE="my_site%")

    said = (tmp_path / "sql").read_text()
    assert "CREATE USER 'o''ne'@'%'" in said
    assert r"GRANT ALL ON `my\_site\%`.* TO 'o''ne'@'%';" in said


@pytest.mark.parametrize("layer", ["local", "dev", "production", ""])
def test_only_the_local_layer_s_user_may_create_databases_of_tests(
    tmp_path: Path, layer: str
) -> None:
    started(tmp_path, MYSQL_DATABASE="my_site", LAYER=layer)

    grants = (tmp_path / "sql").read_text().splitlines()
    named = [line for line in grants if "test" in line]
    assert named == [r"GRANT ALL ON `test\_my\_site%`.* TO 'mysite'@'%';"] * (layer == "local")


def test_the_superuser_is_not_the_application_s(tmp_path: Path) -> None:
    done = started(tmp_path, DB_USER="root")

    assert done.returncode == 1
    assert "DB_USER is root" in done.stderr and "down --volumes" in done.stderr
    assert not (tmp_path / "sql").exists()


@pytest.mark.parametrize("names", [("DB_USER", "DB_PASSWORD"), ("MYSQL_USER", "MYSQL_PASSWORD")])
def test_a_container_of_an_earlier_release_is_saved_as_the_application(
    names: tuple[str, str], tmp_path: Path
) -> None:
    """It has no account of stackctl's; nothing can be loaded there."""
    user, password = names
    given = {user: "mysite", password: "it's\\", "MYSQL_DATABASE": "mysite", "REFUSED": "stackctl"}

    done = run(tmp_path, *MYSQL.command("db", "dump")[4:], **given)

    assert (done.returncode, done.stderr) == (0, "")
    assert "--user=mysite" in (tmp_path / "arguments").read_text().splitlines()
    assert (tmp_path / "password").read_text() == "it's\\"

    refused = run(tmp_path, *MYSQL.command("db", "load", "other")[4:], **given)

    assert refused.returncode == 1
    assert "docker compose up --detach --no-deps db" in refused.stderr
