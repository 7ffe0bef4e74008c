"""The database and the media files, saved and brought back."""

import gzip
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stack.compose import tells
from tests.stack.stackctl.site import Site
from tests.waiting import eventually

# A file that takes a while to read and grows all the while, until the flag is gone.
FLAG = "/tmp/busy"
UPLOADS = f"""mkdir -p /srv/media/busy && head -c 60000000 /dev/zero >/srv/media/busy/long
: >{FLAG}
while [ -e {FLAG} ]; do echo more >>/srv/media/busy/long; done
rm -r /srv/media/busy"""


@contextmanager
def uploads(site: Site) -> Iterator[None]:
    """Change the media files all the while; leave none behind."""
    server = site.container("server2")
    with subprocess.Popen(["docker", "exec", server, "sh", "-c", UPLOADS]) as busy:
        eventually(lambda: site.run_in("server2", "ls", FLAG), seconds=30, what="a file grows")
        try:
            yield
        finally:
            site.run_in("server2", "rm", FLAG)
            busy.wait(30)


def count_rows(site: Site, method: str = "read") -> int:
    """Return a number that is kept in the database, counted up first if told."""
    code = "import django; django.setup(); from api.models import Counter"
    return int(site.python_in("server1", f"{code}; print(Counter.{method}('drill'))"))


def test_backup_and_restore(site: Site) -> None:
    """A row and a file come back; a wrong checksum and a running stack are refused."""
    rows = count_rows(site, "increment")
    site.run_in(
        "server1", "sh", "-c", "mkdir -p /srv/media/drill; echo kept >/srv/media/drill/file"
    )
    with uploads(site):
        saved = site.ask("backup")
    folder = Path(saved["path"])
    assert [oct(path.stat().st_mode & 0o777) for path in folder.iterdir()] == ["0o600"] * 3
    assert saved["release"] == site.release()
    dump = gzip.decompress((folder / "database.sql.gz").read_bytes()).decode()
    assert not tells(dump, site.environment["DB_PASSWORD"])

    count_rows(site, "increment")
    site.run_in("server1", "sh", "-c", "rm -r /srv/media/drill; touch /srv/media/later")
    assert "the stack is running" in site.ctl("restore", folder.name, code=1)
    damaged = shutil.copytree(folder, folder.with_name("damaged"))
    with (damaged / "media.tar.gz").open("ab") as file:
        file.write(b"x")
    assert "wrong checksum" in site.ctl("restore", "damaged", "--force", code=1)
    unknown = (folder / "manifest.json").read_text().replace('"format": 1', '"format": 99')
    (damaged / "manifest.json").write_text(unknown)
    assert "format 99" in site.ctl("restore", "damaged", "--force", code=1)
    assert count_rows(site) == rows + 1

    site.ctl("down")
    before = site.ask("restore", folder.name)["before"]
    site.ctl("up")
    assert count_rows(site) == rows
    assert site.run_in("server2", "cat", "/srv/media/drill/file") == "kept\n"
    # And what came and went meanwhile; not what came later.
    assert set(site.run_in("server2", "ls", "/srv/media").split()) - {"busy"} == {"drill"}
    # What the restore replaced can be had back in turn.
    site.ctl("restore", Path(before).name, "--force")
    assert count_rows(site) == rows + 1
    assert "later" in site.run_in("server2", "ls", "/srv/media")
