"""PostgreSQL's next major version, and back, by the commands of docs/security-updates.md."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.postgres import SETUP, as_superuser, facts
from tests.stack.stackctl.site import Site, count_rows
from tests.stack.stackctl.test_remote_backup import READ_FILES, WRITE_FILES

# What the page has changed in the database's compose file.
NEXT = {
    "image: postgres:17": "image: postgres:18",
    "- postgres-data:/var/lib/postgresql/data": "- postgres-data:/var/lib/postgresql",
}
# Who may do what: each user, each member of another, each database's and each table's list.
RIGHTS = """
SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolcanlogin, rolpassword IS NULL
    FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY 1;
SELECT roleid::regrole, member::regrole FROM pg_auth_members WHERE member > 16000 ORDER BY 1, 2;
SELECT datname, datdba::regrole, array(SELECT unnest(datacl)::text ORDER BY 1)
    FROM pg_database ORDER BY 1;
SELECT relname, relowner::regrole, array(SELECT unnest(relacl)::text ORDER BY 1) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace ORDER BY relname;
SELECT defaclrole::regrole, defaclobjtype, array(SELECT unnest(defaclacl)::text ORDER BY 1)
    FROM pg_default_acl ORDER BY 2
"""
SIGN_IN = f"""{SETUP}
from django.contrib.auth import get_user_model
from django.test import Client
user = get_user_model().objects.create_superuser('major', password='unused')
client = Client()
client.force_login(user)
print(client.cookies['sessionid'].value)
"""


@pytest.fixture
def compose_file(postgres: Site) -> Iterator[Path]:
    """Return the database's compose file, which gets its former text back."""
    path = postgres.tree / "variants/postgres/compose.yaml"
    former = path.read_text()
    yield path
    path.write_text(former)


def test_data_moves_to_the_next_major_version_and_back(postgres: Site, compose_file: Path) -> None:
    """Also for a user who forgets to remove the volume first."""
    rows, rights = count_rows(postgres, add=True), as_superuser(postgres, RIGHTS)
    session = {"sessionid": postgres.python_in("server1", SIGN_IN)}
    upload = postgres.run_in("worker", "sh", "-c", WRITE_FILES.format("media"))
    former = compose_file.read_text()
    changed = former
    for old, new in NEXT.items():
        assert changed.count(old) == 1
        changed = changed.replace(old, new)

    def assert_moved(version: int) -> None:
        assert str(facts(postgres, "SHOW server_version")[0]).startswith(f"{version}.")
        assert as_superuser(postgres, RIGHTS) == rights
        assert count_rows(postgres) == rows
        assert postgres.get("/admin/", cookies=session, allow_redirects=False).status_code == 200
        assert upload in postgres.run_in("server2", "sh", "-c", READ_FILES.format("media"))
        postgres.run_documented("./stackctl status")

    saved = stop_and_save(postgres)
    compose_file.write_text(changed)
    refused = restore(postgres, saved, code=1)
    assert "The volume has the data of PostgreSQL 17, which version 18 cannot read." in refused
    assert "docs/security-updates.md, A new major version of the database" in refused

    remove_database(postgres)
    restore(postgres, saved)
    postgres.run_documented("./stackctl up")
    assert_moved(18)

    count_rows(postgres, add=True)
    stop_and_save(postgres)
    compose_file.write_text(former)
    remove_database(postgres)
    restore(postgres, saved)
    postgres.run_documented("./stackctl up")
    assert_moved(17)


def stop_and_save(site: Site) -> str:
    """Stop what writes, and return the name of a backup of what was written."""
    site.run_documented("docker compose stop server1 server2 worker")
    said = site.run_documented("./stackctl backup --verify")
    return re.findall(r"saved backups/\S+/(\S+)", said)[0]


def remove_database(site: Site) -> None:
    """Remove the database's container and its files."""
    site.run_documented("docker compose rm --stop --force db")
    volume = {"mysite-production_db-data": f"{site.project}_postgres-data"}
    site.run_documented("docker volume rm mysite-production_db-data", volume)


def restore(site: Site, backup: str, code: int = 0) -> str:
    """Restore a backup, and return the output."""
    return site.run_documented("./stackctl restore NAME", {"NAME": backup}, code=code)
