"""Keeps earlier releases' static files for the pages that name them.

Copies a release's files with hashed names to a volume from which all servers and Apache serve, and
removes old ones. A page of the old release finds its files on a server of the new one, and the
other way round, while servers are replaced one at a time and long after.

Only the service migrate can write there, once a release and before any server starts: a server
that was broken into cannot change what the others serve. nginx serves the folder meanwhile, so a
file appears whole or not at all.
"""

import filecmp
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

SOURCE = Path("/srv/static")
SHARED = Path("/srv/kept/static")
DAYS = 30
# A release may run for longer than DAYS, and only its start marks its files.
RELEASES = 10

# ManifestStaticFilesStorage puts twelve hexadecimal digits before the extension.
HASHED = re.compile(r"\.[0-9a-f]{12}\.[^/]+$")


def keep(source: Path, shared: Path) -> None:
    """Bring every file with a hashed name to the shared folder, and mark all with one time."""
    now = int(time.time())
    for path in source.rglob("*"):
        if not (HASHED.search(path.name) and path.is_file()):
            continue
        target = shared / path.relative_to(source)
        # A name with a hash never changes its content: another one is a fault, or an attack.
        if not (target.is_file() and filecmp.cmp(path, target, shallow=False)):
            copy_whole(path, target)
        os.utime(target, (now, now))


def copy_whole(path: Path, target: Path) -> None:
    """Copy a file under another name first, then put it in its place at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("rb") as whole,
        tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as part,
    ):
        shutil.copyfileobj(whole, part)
    Path(part.name).chmod(0o644)
    Path(part.name).replace(target)


def remove_unused(shared: Path, days: float, releases: int) -> None:
    """Remove files that no release of the last `days` and none of the latest has marked."""
    files = {path: int(path.stat().st_mtime) for path in shared.rglob("*") if path.is_file()}
    latest = sorted(set(files.values()), reverse=True)[:releases]
    limit = min([time.time() - days * 86400, *latest])
    for path, marked in files.items():
        if marked < limit:
            # Gone: another run has removed it.
            path.unlink(missing_ok=True)


def main() -> None:
    """Do both, where the volume can be written."""
    if os.access(SHARED, os.W_OK):
        keep(SOURCE, SHARED)
        remove_unused(SHARED, DAYS, RELEASES)


if __name__ == "__main__":
    main()
