"""A backup in another place, restored on an empty machine from that copy alone."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.places import s3_server, sftp_server
from tests.stack.compose import docker
from tests.stack.stackctl.site import Site, count_rows
from tests.waiting import eventually

PASSWORD = "correct horse 'battery' $staple"
# What the backup has to bring back, besides the database.
WRITE_FILES = (
    "mkdir -p /srv/{0}/remote; echo {0} >/srv/{0}/remote/file; "
    "head -c 3000000 /dev/urandom >/srv/{0}/remote/large; sha256sum /srv/{0}/remote/large"
)
READ_FILES = "cat /srv/{0}/remote/file; sha256sum /srv/{0}/remote/large"


@contextmanager
def variables(site: Site, values: dict[str, str]) -> Iterator[None]:
    """Set variables of stackctl during the block."""
    before = dict(site.environment)
    site.environment.update(values)
    try:
        yield
    finally:
        site.environment.clear()
        site.environment.update(before)


def empty(site: Site) -> None:
    """Remove all that a new machine would not have; the place and the variables stay."""
    site.ctl("down", "--volumes", "--yes")
    shutil.rmtree(site.tree / "backups" / site.project)
    docker("volume", "rm", "--force", f"{site.project}_backup-cache")


@pytest.mark.parametrize("server", [s3_server, sftp_server])
def test_restore_on_an_empty_machine_from_the_remote_copy_alone(
    site: Site,
    tmp_path: Path,
    server: Callable[[Path], AbstractContextManager[dict[str, str]]],
) -> None:
    rows = count_rows(site, add=True)
    for name in ("media", "private"):
        site.run_in("worker", "sh", "-c", WRITE_FILES.format(name))
    before = {
        name: site.run_in("worker", "sh", "-c", READ_FILES.format(name))
        for name in ("media", "private")
    }
    with server(tmp_path) as place, variables(site, {**place, "BACKUP_PASSWORD": PASSWORD}):
        said = site.ctl("backup", "--verify", "--keep", "2")
        assert "keep a copy of BACKUP_PASSWORD" in said and PASSWORD not in said
        count_rows(site, add=True)
        again = site.ask("backup", "--keep", "2")
        # Large files that are there already are not sent again.
        assert again["new_bytes"] < 2_000_000 < 6_000_000 < again["bytes"]
        rows += 1

        empty(site)
        assert "latest" not in site.ctl("restore", code=2)
        newest = f"{site.project}/{again['name']}"
        fetched = site.ask("restore", "latest" if server is s3_server else newest)
        assert Path(fetched["path"]).name == again["name"]
        site.ctl("up")

    assert count_rows(site) == rows
    for name, content in before.items():
        assert site.run_in("server2", "sh", "-c", READ_FILES.format(name)) == content
        site.run_in("worker", "rm", "-r", f"/srv/{name}/remote")


def test_failed_scheduled_backup_is_an_error_and_a_metric(site: Site, tmp_path: Path) -> None:
    """The worker logs it, and mails it to ADMINS."""
    with (
        sftp_server(tmp_path) as place,
        variables(site, {**place, "BACKUP_PASSWORD": PASSWORD, "BACKUP_KEEP": "1"}),
    ):
        said = site.ctl("backup", "--scheduled")
        assert len(said.splitlines()) == 2 and "saved" in said.splitlines()[-1]
        good = metrics(site)
        assert {"success", "verified"} <= set(good)

        with variables(site, {"BACKUP_PASSWORD": "another"}):
            said = site.ctl("backup", "--scheduled", code=1)
        assert "BACKUP_PASSWORD is not the password" in said
        assert metrics(site)["failure"] > good["success"] == metrics(site)["success"]
        eventually(
            lambda: "The backup failed: BACKUP_PASSWORD is not" in site.logs("worker"),
            seconds=90,
            what="the worker reports the failed backup",
        )
        # A good one ends it; the one before is gone, by BACKUP_KEEP.
        first = site.ask("backup", "--scheduled")["name"]
        assert metrics(site)["success"] > metrics(site)["failure"]
        assert f"there is no backup '{first[:-2]}'" in site.ctl("restore", first[:-2], code=2)


METRICS = """
from http.client import HTTPConnection
connection = HTTPConnection("worker", 9145)
connection.request("GET", "/metrics")
print(connection.getresponse().read().decode())
"""


def metrics(site: Site) -> dict[str, float]:
    """Return the times of backups in the worker's metrics, by what they are of."""
    prefix, suffix = "mysite_backup_last_", "_timestamp_seconds"
    lines = [line.split() for line in site.python_in("server1", METRICS).splitlines()]
    return {
        line[0].removeprefix(prefix).removesuffix(suffix): float(line[1])
        for line in lines
        if line[:1] and line[0].startswith(prefix)
    }
