"""PostgreSQL instead of MySQL: the same stack with DB_ENGINE=postgres."""

import gzip
import hashlib
import json
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor  # remove_demo
from pathlib import Path

import pytest
import requests

from tests.stack.compose import STACK_NAME, contains_secret, docker
from tests.stack.postgres import (
    SETUP,
    as_superuser,
    asked,
    cluster,
    compose_process,
    facts,
    sorted_lines,
)
from tests.stack.stackctl.site import Site, count_rows, removed_afterwards
from tests.stack.stackctl.test_documented_commands import check_data_of_django
from tests.stack.stackctl.test_rotate import check_rotate_all
from tests.stack.test_data import check_refused_password
from tests.stack.test_migrations import (
    check_gate,  # remove_demo
    check_lock_waits,
)
from tests.stack.test_privileges import check_unprivileged
from tests.stack.uploads import Uploader  # remove_demo
from tests.tree import ROOT
from tests.waiting import eventually

NAME = f"{STACK_NAME}-pg"
# Longer than a connection attempt, far shorter than harakiri.
FAST_SECONDS = 5
# Holds the lock of migrate until standard input ends.
HOLDER = f"""
import sys
{SETUP}
from ops.database.locks import exclusive_lock
with exclusive_lock(c, "migrate", 60, print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def postgres(tree: Path) -> Iterator[Site]:
    """Start the production layer with DB_ENGINE=postgres."""
    # All tests sign in from one address.
    unlimited = {"THROTTLE_ANON": "100000/minute", "THROTTLE_LOGIN": "off"}
    site = Site(tree, NAME, DB_ENGINE="postgres", DRAIN_SECONDS="1", **unlimited)
    with removed_afterwards(site):
        site.up()
        yield site


def test_db_engine_selects_postgres_and_the_stack_is_healthy(postgres: Site) -> None:
    health = postgres.get("/healthz")
    images = docker(
        *("ps", "--all", "--format", "{{.Image}}"),
        *("--filter", f"label=com.docker.compose.project={postgres.project}"),
    ).split()

    assert health.status_code == 200
    components = health.json()["components"]
    assert {"database", "migrations", "cache", "broker", "storage"} <= set(components)
    assert {component["status"] for component in components.values()} == {"up"}
    assert str(facts(postgres, "SELECT version()")[0]).startswith("PostgreSQL 17")
    assert "postgres:17" in images and "mysql:9.7" not in images
    volumes = docker("volume", "ls", "--quiet", "--filter", f"name={postgres.project}_").split()
    assert f"{postgres.project}_postgres-data" in volumes
    assert f"{postgres.project}_db-data" not in volumes


def test_row_written_through_one_server_is_read_through_the_other(postgres: Site) -> None:
    password = secrets.token_hex(8)
    postgres.python_in(
        "worker",
        f"{SETUP}from django.contrib.auth import get_user_model\n"
        f"get_user_model().objects.create_user('both', password={password!r})",
    )

    token = json.loads(
        asked(postgres, "server1", "/api/token/", username="both", password=password)
    )["token"]

    assert "openapi" in json.loads(asked(postgres, "server2", "/api/schema/?format=json", token))


# remove_demo: begin
def test_upload_becomes_a_thumbnail(postgres: Site) -> None:
    user = Uploader(postgres)

    upload = user.wait_until_done(user.upload()["id"], seconds=60)

    assert postgres.get(upload["thumbnail"]).status_code == 200


# remove_demo: end


def test_application_user_has_only_its_own_database(postgres: Site) -> None:
    roles = (
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles"
    )
    may = "SELECT {}".format(
        ", ".join(
            f"has_database_privilege('{name}', 'CONNECT')"
            for name in ("mysite", "postgres", "template1")
        )
    )

    assert facts(postgres, f"{roles} WHERE rolname = current_user") == [False] * 5
    assert facts(postgres, may) == [True, False, False]
    rows = ("SELECT", "INSERT", "UPDATE", "DELETE")
    rights = {*rows, "TRUNCATE", "REFERENCES", "TRIGGER"}
    asked = ", ".join(
        f"has_table_privilege('django_session', '{right}')" for right in sorted(rights)
    )
    assert facts(postgres, f"SELECT {asked}") == [right in rows for right in sorted(rights)]
    create = "has_schema_privilege('public', 'CREATE'), has_database_privilege('mysite', 'CREATE')"
    assert facts(postgres, f"SELECT {create}") == [False, False]
    # The superuser has no password, and cannot connect over the network.
    assert as_superuser(
        postgres, "SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'postgres'"
    ) == ("t")
    refused = postgres.compose(
        *("run", "--rm", "--no-deps", "-e", "DB_USER=postgres", "migrate"), check=False
    )
    assert refused.returncode != 0
    assert "refused user 'postgres'" in refused.stdout


def test_dbshell_ends_at_the_first_error_of_a_file(postgres: Site) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.stackctl", "dbshell"],
        input="SELECT 'before';\nDROP TABLE django_session;\nSELECT 'behind';\n",
        capture_output=True,
        text=True,
        check=False,
        cwd=postgres.tree,
        env=postgres.environment,
    )

    assert done.returncode != 0
    assert "must be owner of table django_session" in done.stderr
    assert "before" in done.stdout and "behind" not in done.stdout


TEMPORARY = "GRANT TEMPORARY ON DATABASE mysite TO mysite"
FORMER_RIGHTS = "REASSIGN OWNED BY migration TO mysite"
TEST_DATABASES = "ALTER ROLE mysite CREATEDB; GRANT CONNECT ON DATABASE postgres TO mysite"
# What needs the rights that these give.
WITH_RIGHTS = """
CREATE TEMPORARY TABLE drill_temporary (i int);
CREATE DATABASE test_mysite; DROP DATABASE test_mysite;
ALTER TABLE django_session ADD drill int; ALTER TABLE django_session DROP drill;
"""
# The rights on tables return when the database starts.
WITHOUT_RIGHTS = """
ALTER ROLE mysite NOCREATEDB; REVOKE CONNECT ON DATABASE postgres FROM mysite;
REVOKE TEMPORARY ON DATABASE mysite FROM mysite;
"""


def test_grants_give_the_rights_that_the_docs_name(postgres: Site) -> None:
    postgres.run_documented(f"./stackctl dbshell --admin <<<'{TEMPORARY}'")
    command = "docker compose exec db psql -U postgres --command="
    postgres.run_documented(f"{command}'{TEST_DATABASES}'")
    try:
        postgres.run_documented(f"./stackctl dbshell --admin <<<'{FORMER_RIGHTS}'")
        postgres.run_documented("./stackctl dbshell", typed=WITH_RIGHTS)
    finally:
        postgres.compose("restart", "db")
        postgres.compose("up", "--detach", "--wait")
        # The database has its owner again, which would else be without TEMPORARY.
        postgres.run_documented("./stackctl dbshell --admin", typed=WITHOUT_RIGHTS)


def test_data_are_dumped_and_loaded_by_django(postgres: Site) -> None:
    check_data_of_django(postgres)


def test_exporter_reads_connections_and_no_table(postgres: Site) -> None:
    """MONITORING=prometheus; tests/stack/test_monitoring.py reads MySQL's by Prometheus."""
    monitored = {"MONITORING": "prometheus"}
    postgres.compose("up", "--detach", "--wait", "--no-deps", "db-exporter", environment=monitored)
    try:
        metrics = postgres.python_in("server1", READ_EXPORTER)
    finally:
        postgres.compose("rm", "--force", "--stop", "db-exporter", environment=monitored)

    assert "\npg_up 1\n" in metrics
    assert re.search(r'^pg_settings_max_connections\{server="db:5432"\} 500$', metrics, re.M)
    assert re.search(
        r'^pg_stat_database_numbackends\{datid="\d+",datname="postgres"\} [1-9]', metrics, re.M
    )
    refused = postgres.run_in("db", "sh", "-c", AS_EXPORTER, check=False)
    assert "permission denied for database" in refused


READ_EXPORTER = """
from urllib.request import urlopen
print(urlopen("http://db-exporter:9145/metrics").read().decode())
"""
AS_EXPORTER = """
PGPASSWORD=$(cat /run/secrets/EXPORTER_PASSWORD) psql --host=127.0.0.1 \
  --username=exporter mysite 2>&1
"""


def test_dump_of_an_adopted_project_belongs_to_the_migration_user(postgres: Site) -> None:
    dump = postgres.tree / "backups/dump.sql"
    dump.write_text("CREATE TABLE drill_loaded (i int);\n")
    load = "docker compose exec -T db psql -U postgres --command='SET ROLE migration' --file=-"
    postgres.run_documented(f"{load} bakery_stack <backups/dump.sql", {"bakery_stack": "mysite"})
    dump.unlink()
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'drill_loaded'"
    assert as_superuser(postgres, owner) == "migration"
    as_superuser(postgres, "DROP TABLE drill_loaded")


def test_postgres_uses_checksums_and_the_builtin_collation(postgres: Site) -> None:
    made = (
        "SELECT current_setting('data_checksums'), datlocprovider::text FROM pg_database "
        "WHERE datname = current_database()"
    )

    # `b`: the built-in provider.
    assert facts(postgres, made) == ["on", "b"]


def test_container_runs_unprivileged_and_publishes_no_port(postgres: Site) -> None:
    assert check_unprivileged(postgres, "db") == "999"
    assert json.loads(postgres.inspect("db", "{{json .HostConfig.PortBindings}}")) in (None, {})


def test_migrate_reports_a_refused_password_without_showing_it(postgres: Site) -> None:
    check_refused_password(postgres)
    # The log does not contain the password either.
    assert not contains_secret(postgres.logs("db"), postgres.environment["DB_PASSWORD"])


def test_concurrent_migrations_run_one_at_a_time(postgres: Site) -> None:
    holder = compose_process(postgres, "exec", "-T", "server1", "python", "-c", HOLDER)
    assert holder.stdout and holder.stdin
    assert holder.stdout.readline() == "held\n"
    both = [
        compose_process(postgres, "run", "--rm", "--no-deps", "-T", "migrate") for _ in range(2)
    ]
    try:
        for one in both:
            assert one.stdout
            assert any("another process holds the lock" in line for line in one.stdout)
            assert one.poll() is None
        # One process holds the lock, and two wait for it.
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        assert facts(postgres, locks) == [1]
    finally:
        holder.stdin.close()
        ended = [one.communicate(timeout=60)[0] for one in both]
    assert holder.wait(30) == 0
    assert [one.returncode for one in both] == [0, 0]
    assert all("No migrations to apply" in text for text in ended)


def test_database_outage_answers_503_quickly_and_recovers(postgres: Site) -> None:
    started = [postgres.inspect(name, "{{.State.StartedAt}}") for name in ("server1", "server2")]

    def sign_in() -> requests.Response:
        return postgres.post("/api/token/", data={"username": "nobody", "password": "x"})

    assert sign_in().status_code == 400
    postgres.compose("stop", "db")
    try:
        assert postgres.inspect("db", "{{.State.ExitCode}}") == "0"
        for _ in range(6):
            before = time.monotonic()
            answer = sign_in()
            assert time.monotonic() - before < FAST_SECONDS
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "5"
            assert "database" in answer.json()["detail"]
        health = postgres.get("/healthz")
        assert health.status_code == 503
        assert health.json()["components"]["database"]["status"] == "down"
        # Pages without database queries are served, and no server is marked down.
        assert postgres.get("/status/").status_code == 200
        assert postgres.in_service() == {"set1", "set2"}
    finally:
        postgres.compose("start", "db")
    eventually(lambda: sign_in().status_code == 400, seconds=60, what="the database is up again")
    eventually(lambda: postgres.get("/healthz").ok, seconds=60, what="the stack is healthy")
    after = [postgres.inspect(name, "{{.State.StartedAt}}") for name in ("server1", "server2")]
    assert after == started


def test_hanging_statement_times_out(postgres: Site) -> None:
    """It counts as an outage, and the next query uses a new connection."""
    output = postgres.python_in(
        "server1",
        f"{SETUP}from django.db import OperationalError\n"
        "from ops.database.outage import is_outage\n"
        "c.settings_dict['OPTIONS']['read_timeout'] = 1\n"
        "try:\n"
        "    c.cursor().execute('SELECT pg_sleep(8)')\n"
        "except OperationalError as error:\n"
        "    print(error, is_outage(error))\n"
        "c.close_if_unusable_or_obsolete()\n"
        "cursor = c.cursor(); cursor.execute('SELECT 5'); print(cursor.fetchone())",
    )

    timed_out, answered = output.splitlines()
    assert timed_out.startswith("the database has not answered for 1.") and timed_out.endswith(
        "True"
    )
    assert answered == "(5,)"


# remove_demo: begin
SLOW_COMMIT = """
CREATE TABLE committed (id uuid);
CREATE FUNCTION slow_commit () RETURNS trigger LANGUAGE plpgsql AS
 'BEGIN INSERT INTO committed VALUES (NEW.id); PERFORM pg_sleep(8); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON demo_upload DEFERRABLE INITIALLY DEFERRED
 FOR EACH ROW EXECUTE FUNCTION slow_commit();
"""


def test_upload_with_an_unacknowledged_commit_is_removed(postgres: Site) -> None:
    """The database hangs during the commit, and commits after the client got 503."""
    user = Uploader(postgres)

    def sql(text: str) -> str:
        psql = ("psql", "--no-psqlrc", "--no-align", "--tuples-only", "--username=postgres")
        return postgres.run_in("db", *psql, "--dbname=mysite", f"--command={text}").strip()

    committing = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    sql(SLOW_COMMIT + "GRANT INSERT ON committed TO mysite")
    try:
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(user.send)
            eventually(lambda: sql(committing) == "1", seconds=20, what="the commit is running")
            postgres.compose("pause", "db")
            try:
                assert sending.result().status_code == 503
            finally:
                postgres.compose("unpause", "db")
        eventually(
            lambda: sql("SELECT count(*) FROM committed") == "1",
            seconds=20,
            what="the commit is done",
        )
        # The worker runs this every minute.
        code = f"{SETUP}from demo.intake import remove_refused; remove_refused()"
        postgres.python_in("server1", code)
        upload = sql("SELECT id FROM committed")
        assert sql(f"SELECT count(*) FROM demo_upload WHERE id = '{upload}'") == "0"
        kept = postgres.run_in("server1", "find", "/srv/media", "-type", "f")
        assert upload and upload not in kept
    finally:
        sql("DROP TABLE committed; DROP FUNCTION slow_commit CASCADE")


# remove_demo: end


# Objects that the database administrator creates, and those of the application.
ADMINISTRATORS = """
CREATE ROLE reader LOGIN PASSWORD 'it''s';
ALTER ROLE reader IN DATABASE mysite SET statement_timeout = '5s';
ALTER DATABASE mysite SET search_path = "$user", public, drill;
COMMENT ON DATABASE mysite IS 'it''s';
CREATE EXTENSION hstore;
CREATE SCHEMA drill AUTHORIZATION migration;
GRANT USAGE ON SCHEMA drill TO mysite;
CREATE TABLE drill.theirs (pairs hstore);
INSERT INTO drill.theirs VALUES ('a=>1');
GRANT SELECT ON drill.theirs TO mysite, reader;
COMMENT ON TABLE drill.theirs IS 'kept';
GRANT reader TO mysite;
ALTER ROLE reader SET lock_timeout = '7s';
"""
APPLICATIONS = (
    "CREATE TYPE drill.mood AS ENUM ('well', 'ill')",
    "CREATE TABLE drill.own (id serial PRIMARY KEY, mood drill.mood, bytes bytea,"
    " doubled int GENERATED ALWAYS AS (id * 2) STORED)",
    "CREATE FUNCTION drill.following (int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1'",
    "CREATE FUNCTION drill.stamp () RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN NEW.mood := ''ill''; RETURN NEW; END'",
    "INSERT INTO drill.own (mood, bytes)"
    " VALUES ('well', decode(repeat('00FF27225C0A0D1A', 5242880), 'hex'))",
    "CREATE TRIGGER stamp BEFORE INSERT ON drill.own FOR EACH ROW EXECUTE FUNCTION drill.stamp()",
    "CREATE VIEW drill.z AS SELECT id, drill.following(id) FROM drill.own",
    "CREATE VIEW drill.a AS SELECT * FROM drill.z",
    "CREATE MATERIALIZED VIEW drill.counted AS SELECT count(*) FROM drill.a",
    "CREATE SEQUENCE drill.seven START 7; SELECT nextval('drill.seven')",
    "SELECT lo_from_bytea(0, 'a large object')",
)


def test_restore_brings_back_all_objects_and_settings(postgres: Site) -> None:
    """Later objects are removed, and the backup of the replaced state can be restored."""
    as_superuser(postgres, ADMINISTRATORS)
    postgres.migrating(f"for s in {APPLICATIONS!r}: c.cursor().execute(s)")
    rows = count_rows(postgres, add=True)
    whole = cluster(postgres)
    assert "drill.counted" in whole and b"a large object".hex() in whole
    saved = postgres.ask("backup", "--verify")
    folder = Path(saved["path"])
    count_rows(postgres, add=True)
    as_superuser(postgres, "CREATE TABLE later (a int); DROP VIEW drill.a CASCADE")
    as_superuser(postgres, "ALTER DATABASE mysite RESET search_path; REVOKE reader FROM mysite")
    as_superuser(postgres, "ALTER ROLE reader SET lock_timeout = '8s'")

    before = postgres.ask("restore", folder.name, "--force")["before"]

    assert sorted_lines(cluster(postgres)) == sorted_lines(whole)
    assert count_rows(postgres) == rows
    assert postgres.get("/healthz").status_code == 200
    postgres.ctl("restore", Path(before).name, "--force")
    assert count_rows(postgres) == rows + 1
    assert facts(postgres, "SELECT to_regclass('later')::text") == ["later"]
    # Sequences continue at their restored values.
    assert count_rows(postgres, add=True) == rows + 2


@pytest.fixture
def damaged(postgres: Site) -> Path:
    """Return a backup with a complete dump and a truncated archive.

    Roles have other settings and members than at its time.
    """
    as_superuser(postgres, "CREATE ROLE former; GRANT former TO mysite")
    as_superuser(postgres, "ALTER ROLE mysite SET lock_timeout = '7s'")
    folder = Path(postgres.ask("backup")["path"])
    damaged = shutil.copytree(folder, folder.with_name("damaged"))
    dump = damaged / "database.sql.gz"
    filler = "".join(f"-- {secrets.token_hex(500)}\n" for _ in range(3000)).encode()
    dump.write_bytes(gzip.compress(gzip.decompress(dump.read_bytes()) + filler)[:-10_000])
    manifest = json.loads((damaged / "manifest.json").read_text())
    manifest["parts"][dump.name]["sha256"] = hashlib.sha256(dump.read_bytes()).hexdigest()
    (damaged / "manifest.json").write_text(json.dumps(manifest))
    as_superuser(postgres, "ALTER ROLE mysite RESET lock_timeout; REVOKE former FROM mysite")
    return damaged


def test_restore_of_a_damaged_backup_changes_nothing(postgres: Site, damaged: Path) -> None:
    """The end of its input is all that psql sees."""
    rows = count_rows(postgres, add=True)
    before = cluster(postgres)

    refused = postgres.ctl("restore", damaged.name, "--force", code=1)

    assert sorted_lines(cluster(postgres)) == sorted_lines(before)
    assert "database.sql.gz cannot be unpacked" in refused and "nothing was changed" in refused
    databases = "SELECT count(*) FROM pg_database WHERE datname LIKE 'stackctl%'"
    assert facts(postgres, databases) == [0]
    assert count_rows(postgres) == rows


def test_restore_refuses_a_backup_of_mysql(postgres: Site) -> None:
    folder = Path(postgres.ask("backup")["path"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["database"] == "PostgreSQL"
    rows = count_rows(postgres)
    del manifest["database"]  # as in backups of earlier versions
    (folder / "manifest.json").write_text(json.dumps(manifest))

    refused = postgres.ctl("restore", folder.name, "--force", code=1)

    assert "this backup is of MySQL, and the stack's database is PostgreSQL" in refused
    assert count_rows(postgres) == rows


# Prints where the former password is accepted; the container's own address is a server's here.
ROTATE = """
export PGPASSWORD=$POSTGRES_PASSWORD; read -r server _ <<<"$(getent ahostsv4 "$HOSTNAME")"
change() { echo "$2" | bash -c "$SCRIPT" postgres.sh "$1" "" "$server"; }
login() { psql -h "$1" -U "$DB_USER" -c '' "$POSTGRES_DB" 2>&- && echo "$1"; }
change accept another; login 127.0.0.1 || login "$server"
change retire another; while login "$server" >&2; do sleep 0.1; done
change accept "$POSTGRES_PASSWORD"; change retire -; login 127.0.0.1
"""


def test_only_servers_have_the_former_password_until_it_is_retired(postgres: Site) -> None:
    script = (ROOT / "tools/stackctl/inside/postgres.sh").read_text()
    said = postgres.run_in("db", "env", f"SCRIPT={script}", "timeout", "30", "bash", "-c", ROTATE)
    own, other = said.split()
    assert own != other == "127.0.0.1"


def test_no_password_is_in_the_log_of_slow_statements(postgres: Site) -> None:
    script = (ROOT / "tools/stackctl/inside/postgres.sh").read_text()
    as_superuser(postgres, "ALTER ROLE postgres SET log_min_duration_statement = 0")
    try:
        postgres.run_in("db", "env", f"SCRIPT={script}", "timeout", "30", "bash", "-c", ROTATE)
        postgres.run_in("db", "rights")
    finally:
        as_superuser(postgres, "ALTER ROLE postgres RESET log_min_duration_statement")
    logged = postgres.logs("db")
    assert "statement: SELECT pg_reload_conf()" in logged
    assert "PASSWORD '" not in logged


def test_rotate_all_fails_no_request_and_keeps_users_signed_in(postgres: Site) -> None:
    check_rotate_all(postgres)


# remove_demo: begin
def test_migration_gate_accepts_new_apps_and_names_incompatible_columns(postgres: Site) -> None:
    check_gate(postgres)


# remove_demo: end


def test_migrations_retry_locks_with_short_waits(postgres: Site) -> None:
    check_lock_waits(postgres)
