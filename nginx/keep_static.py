"""Keeps earlier releases' static files for the pages that name them.

Copies this release's files with hashed names to a folder that all servers share, or marks those
that are there as in use, and removes what no server has marked for DAYS. A server does so when it
starts, each day while it runs and when it stops (supervisor/entrypoint, supervisor/drain). So a
page of the old release finds its files on a server of the new one, and the other way round, while
servers are replaced one by one and for DAYS after the last server of its release has stopped.

Several servers may do so at once, and nginx serves the folder meanwhile: a file appears whole or
not at all, and one that another server removes is none to stumble over.
"""

import contextlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

SOURCE = Path("/srv/static")
SHARED = Path("/srv/kept/static")
DAYS = 30

# ManifestStaticFilesStorage puts twelve hexadecimal digits before the extension.
HASHED = re.compile(r"\.[0-9a-f]{12}\.[^/]+$")


def keep(source: Path, shared: Path) -> None:
    """Bring every file with a hashed name to the shared folder, or mark it as still in use."""
    for path in source.rglob("*"):
        if not (HASHED.search(path.name) and path.is_file()):
            continue
        target = shared / path.relative_to(source)
        # A name with a hash never changes its content.
        try:
            os.utime(target)
        except FileNotFoundError:
            copy_whole(path, target)


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


def remove_unused(shared: Path, days: float) -> None:
    """Remove what no server has marked for so many days, and what a killed copy left."""
    limit = time.time() - days * 86400
    for path in shared.rglob("*"):
        # Gone: another server has removed it.
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < limit:
                path.unlink()


def main() -> None:
    """Do both; without the shared volume (a single container) there is nobody to share with."""
    if os.access(SHARED, os.W_OK):
        keep(SOURCE, SHARED)
        remove_unused(SHARED, DAYS)


if __name__ == "__main__":
    main()
