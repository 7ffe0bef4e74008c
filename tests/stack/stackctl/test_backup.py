"""Backup and restore of the database and the files."""

import gzip
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stack.compose import Stack, contains_secret
from tests.stack.stackctl.site import Site, count_rows
from tests.waiting import eventually

# A large file that grows until the flag is removed.
FLAG = "/tmp/busy"
GROW_A_FILE = f"""mkdir -p /srv/media/busy && head -c 60000000 /dev/zero >/srv/media/busy/long
: >{FLAG}
while [ -e {FLAG} ]; do echo more >>/srv/media/busy/long; done
rm -r /srv/media/busy"""


@contextmanager
def changing_media_files(site: Site) -> Iterator[None]:
    """Change media files during the block, and remove them afterwards."""
    server = site.container("server2")
    with subprocess.Popen(["docker", "exec", server, "sh", "-c", GROW_A_FILE]) as busy:
        eventually(lambda: site.run_in("server2", "ls", FLAG), seconds=30, what="a file grows")
        try:
            yield
        finally:
            site.run_in("server2", "rm", FLAG)
            busy.wait(30)


# Objects that the database administrator creates, and those of the application.
ADMINISTRATOR_SQL = r"""
CREATE TABLE drill_child (id INT PRIMARY KEY, parent INT, at DATE, doubled INT AS (id * 2) STORED,
    FOREIGN KEY (parent) REFERENCES drill_parent (id));
SET sql_mode = '';
INSERT INTO drill_child (id, parent, at) VALUES (5, 1, '0000-00-00');
CREATE TABLE drill_big (bytes LONGBLOB);
INSERT INTO drill_big VALUES (REPEAT(UNHEX('00FF27225C0A0D1A'), 5242880));
CREATE FUNCTION drill_next (n INT) RETURNS INT DETERMINISTIC RETURN n + 1;
CREATE TRIGGER drill_stamp BEFORE INSERT ON drill_parent FOR EACH ROW
    SET NEW.name = UPPER(NEW.name);
CREATE EVENT drill_tick ON SCHEDULE EVERY 1 HOUR COMMENT 'it''s'
    DO INSERT INTO drill_big VALUES ('');
CREATE VIEW drill_z AS SELECT id, mysite.drill_next(id) AS following FROM drill_parent;
CREATE VIEW drill_a AS SELECT * FROM drill_z;
CREATE USER 'a reader'@'%' IDENTIFIED BY 'it''s';
GRANT SELECT (id) ON drill_child TO 'a reader'@'%';
GRANT EXECUTE ON PROCEDURE drill_say TO 'a reader'@'%';
CREATE ROLE 'a role', 'a wider role';
GRANT SELECT ON drill_big TO 'a role';
GRANT 'a role' TO 'a wider role', 'mysite'@'%';
CREATE USER 'a member'@'%' IDENTIFIED BY 'x';
GRANT 'a role', 'a wider role' TO 'a member'@'%' WITH ADMIN OPTION;
ALTER USER 'a member'@'%' DEFAULT ROLE 'a wider role', 'a role';
"""
APPLICATION_SQL = (
    "CREATE TABLE drill_parent (id INT PRIMARY KEY AUTO_INCREMENT, name TEXT) CHARSET latin1",
    "INSERT INTO drill_parent (name) VALUES ('\u00e9')",
    "CREATE PROCEDURE drill_say () SELECT 'said;'",
    "CREATE EVENT drill_once ON SCHEDULE AT '2037-01-01' DISABLE DO DO 0",
)
# Without the table that the worker writes constantly.
LIST_TABLES = """
SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'mysite'
    AND TABLE_TYPE = 'BASE TABLE' AND TABLE_NAME <> 'ops_workerbeat';
"""
LIST_OBJECTS = """
SELECT ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_DEFINITION, DEFINER FROM information_schema.ROUTINES
    WHERE ROUTINE_SCHEMA = 'mysite' ORDER BY 1;
SELECT TRIGGER_NAME, ACTION_STATEMENT, DEFINER FROM information_schema.TRIGGERS
    WHERE TRIGGER_SCHEMA = 'mysite' ORDER BY 1;
SELECT EVENT_NAME, EVENT_DEFINITION, DEFINER, STATUS, EVENT_COMMENT, EXECUTE_AT, STARTS
    FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'mysite' ORDER BY 1;
SELECT TABLE_NAME, TABLE_COLLATION, TABLE_COMMENT, AUTO_INCREMENT FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = 'mysite' ORDER BY 1;
SELECT TABLE_NAME, DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = 'mysite' ORDER BY 1;
SELECT * FROM drill_a;
SHOW GRANTS FOR 'a reader'@'%';
SHOW GRANTS FOR 'mysite'@'%';
SHOW GRANTS FOR 'a member'@'%';
SHOW GRANTS FOR 'a wider role';
SHOW GRANTS FOR 'a role';
SELECT User, IF(User IN ('migration', 'exporter'), 'new salt', HEX(authentication_string)),
    account_locked FROM mysql.user ORDER BY 1;
SELECT * FROM mysql.default_roles ORDER BY 1, 2, 3, 4;
SHOW CREATE TABLE drill_child;
SELECT SCHEMA_NAME, DEFAULT_COLLATION_NAME, @@GLOBAL.max_allowed_packet
    FROM information_schema.SCHEMATA ORDER BY 1;
"""


def run_as_administrator(site: Stack, sql: str) -> str:
    """Run SQL as the database administrator, who can connect only inside the container."""
    mysql = ("mysql", "--user=stackctl", "--skip-column-names", "--execute", sql, "mysite")
    return site.run_in("db", *mysql)


def create_objects(site: Stack) -> None:
    """Create one database object of each kind."""
    site.migrating(f"for s in {APPLICATION_SQL!r}: c.cursor().execute(s)")
    run_as_administrator(site, ADMINISTRATOR_SQL)


def dump_objects(site: Stack) -> str:
    """Return the checksums of all tables, and the definitions of all objects."""
    tables = sorted(run_as_administrator(site, LIST_TABLES).split())
    sums = f"CHECKSUM TABLE {', '.join(tables)};"
    return run_as_administrator(
        site, f"SET information_schema_stats_expiry = 0; {sums}{LIST_OBJECTS}"
    )


def test_restore_brings_back_all_objects_and_files(site: Site) -> None:
    """Restore also refuses a wrong checksum, an unknown format, and a running stack."""
    rows = count_rows(site, add=True)
    create_objects(site)
    before_all = dump_objects(site)
    site.run_in(
        "server1", "sh", "-c", "mkdir -p /srv/media/drill; echo kept >/srv/media/drill/file"
    )
    site.run_in(
        "worker", "sh", "-c", "mkdir /srv/private/drill; echo kept >/srv/private/drill/file"
    )
    with changing_media_files(site):
        backup = site.ask("backup", "--verify")
    folder = Path(backup["path"])
    assert [oct(path.stat().st_mode & 0o777) for path in folder.iterdir()] == ["0o600"] * 4
    assert backup["release"] == site.release()
    dump = gzip.decompress((folder / "database.sql.gz").read_bytes()).decode()
    assert not contains_secret(dump, site.environment["DB_PASSWORD"])

    count_rows(site, add=True)
    run_as_administrator(
        site, "CREATE TABLE later (a INT); DROP FUNCTION drill_next; DROP EVENT drill_tick"
    )
    run_as_administrator(site, "DROP VIEW drill_a, drill_z; DROP TRIGGER drill_stamp")
    run_as_administrator(
        site, "DROP USER 'a reader', 'a member'; DROP ROLE 'a role', 'a wider role'"
    )
    site.run_in(
        "server1", "sh", "-c", "rm -r /srv/*/drill; touch /srv/media/later /srv/private/later"
    )
    assert "the stack is running" in site.ctl("restore", folder.name, code=1)
    damaged = shutil.copytree(folder, folder.with_name("damaged"))
    with (damaged / "media.tar.gz").open("ab") as file:
        file.write(b"x")
    assert "wrong checksum" in site.ctl("restore", "damaged", "--force", code=1)
    unknown = (folder / "manifest.json").read_text().replace('"format": 3', '"format": 99')
    (damaged / "manifest.json").write_text(unknown)
    assert "format 99" in site.ctl("restore", "damaged", "--force", code=1)
    assert count_rows(site) == rows + 1

    site.ctl("down")
    before = site.ask("restore", folder.name)["before"]
    assert dump_objects(site) == before_all
    site.ctl("up")
    assert count_rows(site) == rows
    for name in ("media", "private"):
        assert site.run_in("server2", "cat", f"/srv/{name}/drill/file") == "kept\n"
    assert site.run_in("worker", "ls", "-A", "/srv/private").split() == ["drill"]
    # Files that were created after the backup are removed.
    assert set(site.run_in("server2", "ls", "/srv/media").split()) - {"busy"} == {"drill"}
    # The data that the restore replaced can be restored too.
    site.ctl("restore", Path(before).name, "--force")
    assert "later" in run_as_administrator(site, LIST_TABLES)
    assert count_rows(site) == rows + 1
    for name in ("media", "private"):
        assert "later" in site.run_in("server2", "ls", f"/srv/{name}")
