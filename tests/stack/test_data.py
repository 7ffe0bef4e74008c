"""The database and volumes: shared by both servers, and kept over down and up."""

from concurrent.futures import ThreadPoolExecutor  # remove_demo
from pathlib import Path

from tests.stack.compose import DB_ENGINE, Stack, docker, mysql_only, secret_environment
from tests.stack.services import restart


# remove_demo: begin
def read_hits(stack: Stack, server: str) -> int:
    """Read the counter through one server."""
    for _ in range(10):
        answer = stack.get("/api/hits/").json()
        if answer["server"] == server:
            return answer["hits"]
    raise AssertionError(f"{server} never answered")


def test_count_written_through_one_server_is_read_through_the_other(production: Stack) -> None:
    for _ in range(2):
        written = production.post("/api/hits/").json()
        other = {"set1": "set2", "set2": "set1"}[written["server"]]
        assert read_hits(production, other) == written["hits"]


def test_concurrent_visits_get_consecutive_counts(production: Stack) -> None:
    before = read_hits(production, "set1")
    with ThreadPoolExecutor(16) as pool:
        counts = list(pool.map(lambda _: production.post("/api/hits/").json()["hits"], range(200)))

    assert sorted(counts) == list(range(before + 1, before + 201))


# remove_demo: end


def test_rows_and_files_survive_down_and_up(production: Stack) -> None:
    create = "import django; django.setup()\nfrom django.contrib.auth.models import Group\n"
    production.python_in("server1", f"{create}Group.objects.create(name='kept')")
    production.run_in("server1", "sh", "-c", "echo kept >/srv/media/kept.txt")

    production.down()
    production.up()

    assert production.python_in("server2", f"{create}print(Group.objects.get())").strip() == "kept"
    assert production.get("/media/kept.txt").text == "kept\n"


def test_migrate_reports_a_database_tls_error_without_waiting(production: Stack) -> None:
    """MySQL has a self-signed certificate; PostgreSQL has no TLS here."""
    options = {"mysql": "ssl_mode=VERIFY_IDENTITY", "postgres": "sslmode=verify-full"}[DB_ENGINE]
    url = f"{DB_ENGINE}://mysite:x@db/mysite?{options}"

    done = production.compose(
        *("run", "--rm", "--no-deps", "-T", "migrate"),
        check=False,
        timeout=30,
        environment={"DATABASE_URL": url},
    )

    assert done.returncode == 1
    assert "do not agree on TLS" in done.stdout and "Is it running" not in done.stdout


@mysql_only
def test_hanging_statement_times_out_and_slow_statement_succeeds(production: Stack) -> None:
    """Probes during a long statement distinguish it from a server that hangs."""
    output = production.python_in(
        "server1",
        "import django; django.setup()\n"
        "from django.db import OperationalError, connection as c\n"
        "cursor = c.cursor(); cursor.execute('SELECT SLEEP(3)'); print(cursor.fetchone())\n"
        "c.close(); c.settings_dict['OPTIONS']['read_timeout'] = 1\n"
        "try:\n"
        "    c.cursor().execute('SELECT SLEEP(8)')\n"
        "except OperationalError as error:\n"
        "    print(error)\n"
        "c.close_if_unusable_or_obsolete()\n"
        "cursor = c.cursor(); cursor.execute('SELECT 5'); print(cursor.fetchone())",
    )

    long, timed_out, after = output.splitlines()
    assert (long, after) == ("(0,)", "(5,)")
    assert "the database has not answered for 1." in timed_out


@mysql_only
def test_mysql_uses_utf8mb4_and_strict_mode(production: Stack) -> None:
    facts = production.python_in(
        "server1",
        "import django; django.setup()\n"
        "from django.db import connection as c\n"
        "cursor = c.cursor()\n"
        "cursor.execute('SELECT VERSION(), @@character_set_database, @@sql_mode')\n"
        "print(cursor.fetchone())",
    )

    assert "'9." in facts and "utf8mb4" in facts and "STRICT_TRANS_TABLES" in facts


@mysql_only
def test_mysql_creates_the_account_of_stackctl_again_when_it_starts(production: Stack) -> None:
    """A volume of an earlier release has none."""
    mysql = ("mysql", "--user=stackctl", "--skip-column-names", "--batch", "--execute")
    production.run_in("db", *mysql, "DROP USER stackctl@localhost")

    restart(production, "db")

    grants = production.run_in("db", *mysql, "SHOW GRANTS")
    assert "`stackctl`@`localhost` WITH GRANT OPTION" in grants and "CREATE USER" in grants


def test_migrate_gives_up_when_no_database_answers(production: Stack) -> None:
    result = production.compose(
        *(
            "run",
            "--rm",
            "--no-deps",
            "-e",
            # Nothing listens on the database port there.
            "DB_HOST=server1",
            "-e",
            "DB_WAIT_SECONDS=2",
            "migrate",
        ),
        check=False,
    )

    assert result.returncode != 0
    name = {"mysql": "MySQL", "postgres": "PostgreSQL"}[DB_ENGINE]
    assert f"waiting up to 2 s for the {name} database 'mysite' at server1" in result.stdout
    assert "did not answer within 2 s" in result.stdout
    assert "Traceback" not in result.stdout


def test_migrate_reports_a_refused_password_without_showing_it(production: Stack) -> None:
    check_refused_password(production)


def check_refused_password(stack: Stack) -> None:
    """Migrate with a wrong password: the error is immediate and does not contain it."""
    result = stack.compose(
        *("run", "--rm", "--no-deps", "-e", "DB_PASSWORD=wrong-horse-battery", "migrate"),
        check=False,
    )

    assert result.returncode != 0
    assert "refused user 'mysite'" in result.stdout
    assert "waiting" not in result.stdout
    assert "wrong-horse-battery" not in result.stdout
    assert "Traceback" not in result.stdout


def test_down_removes_the_volume_of_a_certificate_that_is_no_longer_set(tree: Path) -> None:
    stack = Stack(tree, "dev", **secret_environment())
    volume = f"{stack.project}_certificates"
    docker("volume", "create", "--label", f"com.docker.compose.project={stack.project}", volume)

    stack.down(volumes=True)

    assert volume not in docker("volume", "ls", "--quiet").split()


def test_volumes_are_named_for_the_project(production: Stack) -> None:
    names = docker("volume", "ls", "--quiet", "--filter", f"name={production.project}").split()

    data = {"mysql": "db-data", "postgres": "postgres-data"}[DB_ENGINE]
    assert f"{production.project}_{data}" in names
    assert f"{production.project}_media" in names
