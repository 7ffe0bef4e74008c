"""PostgreSQL instead of MySQL: the same stack with DB_ENGINE=postgres."""

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor  # remove_demo

import requests

from tests.stack.compose import docker
from tests.stack.postgres import SETUP, asked, compose_process, facts
from tests.stack.stackctl.site import Site
from tests.stack.stackctl.test_documented_commands import check_data_of_django
from tests.stack.test_migrations import (
    check_gate,  # remove_demo
    check_lock_waits,
)
from tests.stack.test_privileges import check_unprivileged
from tests.stack.uploads import Uploader  # remove_demo
from tests.waiting import eventually

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


def test_data_are_dumped_and_loaded_by_django(postgres: Site) -> None:
    check_data_of_django(postgres)


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
    postgres.stop("db")
    try:
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


def test_migration_gate_accepts_new_apps_and_names_incompatible_columns(postgres: Site) -> None:
    check_gate(postgres)


# remove_demo: end


def test_migrations_retry_locks_with_short_waits(postgres: Site) -> None:
    check_lock_waits(postgres)
