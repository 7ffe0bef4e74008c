"""The users of PostgreSQL: their rights, and their passwords."""

import re
import subprocess
import sys

from tests.stack.compose import contains_secret
from tests.stack.postgres import as_superuser, facts
from tests.stack.stackctl.site import Site
from tests.stack.stackctl.test_rotate import check_rotate_all
from tests.stack.test_data import check_refused_password
from tests.tree import ROOT


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
    without = "SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'postgres'"
    assert as_superuser(postgres, without) == "t"
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


def test_migrate_reports_a_refused_password_without_showing_it(postgres: Site) -> None:
    check_refused_password(postgres)
    # The log does not contain the password either.
    assert not contains_secret(postgres.logs("db"), postgres.environment["DB_PASSWORD"])


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
