"""Backups of PostgreSQL, and how they are restored."""

import gzip
import hashlib
import json
import secrets
import shutil
from pathlib import Path

import pytest

from tests.stack.postgres import as_superuser, cluster, facts, sorted_lines
from tests.stack.stackctl.site import Site, count_rows

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
