"""The scripts that run inside database containers, with fake database programs."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.stackctl.commands import restore
from tools.stackctl.inside.databases import (
    MYSQL,
    POSTGRESQL,
    RESTORED,
    VERIFIED,
    DatabaseServer,
    server_of,
)

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
            **{"DB_USER": "o'ne", "DB_PASSWORD": "former"},
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


# Records its password, arguments and input; REFUSES and ANSWER are parts of a `case`.
MYSQL_CLIENT = """
case "$*" in
    *--execute=*) sql=$* ;;
    *) sql="$* $(cat)" ;;
esac
printf '%s\\n' "${{MYSQL_PWD-none}}: $sql" >>"$RAN"
case $sql in
    {refuses}) echo {error} >&2; exit 1 ;;
    {answer}
esac
"""


def mysql(refuses: str = "nothing", answer: str = "*nothing*) ;;", error: str = "'ERROR 1'") -> str:
    """Return a fake client that refuses some statements, and answers others."""
    return MYSQL_CLIENT.format(refuses=refuses, answer=answer, error=error)


@pytest.mark.parametrize(
    ("client", "code", "said"),
    [
        (mysql(), 0, ""),
        (mysql("*", error="'ERROR 1045 (28000): Access denied'"), 3, ""),
        (mysql("*", error="'ERROR 2003: no connection'"), 1, "ERROR 2003: no connection\n"),
    ],
)
def test_mysql_reports_whether_it_accepts_a_password(
    run: Run, tmp_path: Path, client: str, code: int, said: str
) -> None:
    result = run(MYSQL, "knows", stdin="it's\\new\n", mysql=client)

    assert (result.returncode, result.stderr) == (code, said)
    (asked,) = (tmp_path / "ran").read_text().splitlines()
    password, _, options = asked.partition(": ")
    assert password == "it's\\new"
    # The socket would not tell whether clients can sign in.
    assert {"--protocol=tcp", "--user=o'ne"} <= set(options.split())


REPLACE = "IDENTIFIED BY 'it''s\\new'"


@pytest.mark.parametrize(
    ("action", "refuses", "statements"),
    [
        # A run before this one was cut off: a second one would discard the former password.
        ("accept", "nothing", []),
        (
            "accept",
            "*--protocol=tcp*",
            [f"ALTER USER 'o''ne'@'%' {REPLACE} RETAIN CURRENT PASSWORD;"],
        ),
        (
            *("retire", "nothing"),
            [f"ALTER USER 'o''ne'@'%' {REPLACE};", "ALTER USER 'o''ne'@'%' DISCARD OLD PASSWORD;"],
        ),
    ],
)
def test_mysql_keeps_the_former_password_until_it_is_retired(
    run: Run, tmp_path: Path, action: str, refuses: str, statements: list[str]
) -> None:
    result = run(MYSQL, action, "", stdin="it's\\new\n", mysql=mysql(refuses))

    assert result.returncode == 0, result.stderr
    ran = (tmp_path / "ran").read_text()
    assert [line for line in ran.splitlines() if line.startswith("ALTER")] == statements
    # With the default sql_mode a backslash would be an escape.
    assert ("sql_mode = 'NO_BACKSLASH_ESCAPES';\nALTER" in ran) is bool(statements)


def test_mysql_of_an_earlier_release_is_dumped_by_the_application_user(
    run: Run, tmp_path: Path
) -> None:
    """It has no account of stackctl, and no user may read those of others."""
    dumper = 'echo "$MYSQL_PWD: $*" >>"$RAN.dump"; echo EVENT'
    result = run(MYSQL, "extras", mysql=mysql("*--user=stackctl*"), mysqldump=dumper)

    assert (result.returncode, result.stdout) == (0, "EVENT\n"), result.stderr
    assert (tmp_path / "ran.dump").read_text().startswith("former: --user=o'ne ")
    first, *queries = (tmp_path / "ran").read_text().splitlines()
    assert first.startswith("none: --user=stackctl ")
    assert all(line.startswith("former: --user=o'ne ") for line in queries if "--user" in line)
    assert "mysql.user" not in "".join(queries)


@pytest.mark.parametrize("database", [VERIFIED, RESTORED])
def test_mysql_writes_no_scratch_database_into_the_binary_log(
    run: Run, tmp_path: Path, database: str
) -> None:
    result = run(MYSQL, "prepare", database, stdin="ALTER DATABASE x;\nEVENT\n", mysql=mysql())

    assert result.returncode == 0, result.stderr
    _, *ran = (tmp_path / "ran").read_text().splitlines()
    logged = f"sql_log_bin = {int(database != VERIFIED)}, lock_wait_timeout = 60"
    assert len(ran) == 3 and all(logged in line for line in ran)
    # Of the extras only the first line: an event would run in this database too.
    assert ran[-1].endswith(f" {database} ALTER DATABASE x;")


@pytest.mark.parametrize(("refuses", "code"), [("nothing", 0), (f"*{RESTORED}*", 1)])
def test_mysql_load_restores_the_largest_packet_of_the_server(
    run: Run, tmp_path: Path, refuses: str, code: int
) -> None:
    client = mysql(refuses, "*'SELECT @@GLOBAL.max_allowed_packet') echo 67108864 ;;")
    result = run(MYSQL, "load", RESTORED, stdin="INSERT 1;", mysql=client)

    assert result.returncode == code
    limits = re.findall(r"SET GLOBAL max_allowed_packet = (\d+)", (tmp_path / "ran").read_text())
    assert limits == ["1073741824", "67108864"]


def test_mysql_names_are_quoted(run: Run, tmp_path: Path) -> None:
    assert run(MYSQL, "remove", "a`b'c", mysql=mysql()).returncode == 0

    assert (tmp_path / "ran").read_text().endswith("DROP DATABASE IF EXISTS `a``b'c`\n")


BROKEN_VIEWS = (
    "*\"TABLE_COMMENT <> 'VIEW' AND TABLE_SCHEMA = 'it''s\\\\\\\\'\"*) echo broken; echo lost ;;"
)


@pytest.mark.parametrize(("how", "left_out"), [("lenient", ["broken", "lost"]), ("", [])])
def test_only_a_lenient_mysql_dump_leaves_broken_views_out(
    run: Run, tmp_path: Path, how: str, left_out: list[str]
) -> None:
    client = mysql(answer=BROKEN_VIEWS)
    result = run(MYSQL, "dump", "it's\\", how, mysql=client, mysqldump='printf "%s\\n" "$@"')

    ignored = [line for line in result.stdout.splitlines() if line.startswith("--ignore-table")]
    assert ignored == [f"--ignore-table=it's\\.{view}" for view in left_out]
    assert all(f"the view {view}\n" in result.stderr for view in left_out)


DUMPED = r"""cat <<'END'
  `name` varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
/*!50001 VIEW `v` AS select `my.shop`.`f`(`my.shop`.`a`.`b`) AS `my.shop`,`my-shop`.`c`.`d` */;
INSERT INTO `a` VALUES ('`my.shop`.`b`',' CHARACTER SET utf8mb4 COLLATE x');
END"""


def test_mysql_dump_is_the_same_text_for_a_database_of_another_name(run: Run) -> None:
    """`backup --verify` compares the dump of a loaded backup; rows are never changed."""
    other = DUMPED.replace("my.shop", VERIFIED)
    one = run(MYSQL, "dump", "my.shop", mysqldump=DUMPED).stdout
    two = run(MYSQL, "dump", VERIFIED, mysqldump=other).stdout

    assert one.replace("my.shop", VERIFIED) == two
    column, view, row, _ = one.splitlines()
    assert column.startswith("  `name` varchar(9) COLLATE utf8mb4_bin")
    assert view == "/*!50001 VIEW `v` AS select `f`(`a`.`b`) AS `my.shop`,`my-shop`.`c`.`d` */;"
    assert row == "INSERT INTO `a` VALUES ('`my.shop`.`b`',' CHARACTER SET utf8mb4 COLLATE x');"


# One table in each database, and a trigger in the live one.
TABLES = """*"BASE TABLE' AND TABLE_SCHEMA = 'shop'"*) [ -e "$RAN.moved" ] || echo old ;;
    *"BASE TABLE' AND TABLE_SCHEMA = 'stackctl_restore'"*) echo new ;;
    *"information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'shop'"*) echo stamp ;;"""
RENAME = """RENAME TABLE
`shop`.`old` TO `stackctl_replaced`.`old`,
`stackctl_restore`.`new` TO `shop`.`new`;"""


@pytest.mark.parametrize(
    ("refuses", "code"),
    [
        ("nothing", 0),
        # Before any change, and with nothing to undo.
        ('*"CREATE DATABASE"*', restore.UNTOUCHED),
        # The triggers have been dropped, or some of them, and come back.
        ('*"DROP TRIGGER"*', restore.UNTOUCHED),
        ('*"RENAME TABLE"*', restore.UNTOUCHED),
        ('*"RENAME TABLE"*) : >"$RAN.moved"; exit 1 ;; *never*', 1),
        ('*"DROP EVENT"* | *"information_schema.EVENTS"*', 1),
    ],
)
def test_mysql_switch_reports_untouched_data_only_if_no_table_has_moved(
    run: Run, tmp_path: Path, refuses: str, code: int
) -> None:
    result = run(
        *(MYSQL, "switch", RESTORED),
        stdin="ALTER DATABASE x;\n",
        mysql=mysql(refuses, TABLES),
        mysqldump="echo 'CREATE TRIGGER stamp;'",
    )

    assert result.returncode == code, result.stderr
    ran = (tmp_path / "ran").read_text()
    # What a switch that was cut off has left.
    assert "DROP DATABASE IF EXISTS `stackctl_replaced`\n" in ran.partition("CREATE DATABASE")[0]
    renames = "RENAME TABLE" in ran
    assert renames is (refuses not in ('*"CREATE DATABASE"*', '*"DROP TRIGGER"*'))
    assert not renames or RENAME in ran
    put_back = "--force shop CREATE TRIGGER stamp;" in ran
    assert put_back is (refuses in ('*"DROP TRIGGER"*', '*"RENAME TABLE"*'))
