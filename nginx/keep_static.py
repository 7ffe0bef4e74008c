"""keep_static.py FROM TO DAYS: keeps earlier releases' static files for the pages that name them.

Copies this release's files with hashed names from FROM to TO, which all servers share, and removes
from TO what no release has had for DAYS. So a page of the old release finds its files on a server
of the new one, and the other way round, while servers are replaced one by one and for as long as
somebody keeps the page open.

Several servers may start at once, and nginx serves TO meanwhile: a file appears whole or not at
all.
"""

import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

# ManifestStaticFilesStorage puts twelve hexadecimal digits before the extension.
HASHED = re.compile(r"\.[0-9a-f]{12}\.[^/]+$")


def keep(source: Path, shared: Path) -> None:
    """Bring every file with a hashed name to the shared folder, or mark it as still in use."""
    for path in source.rglob("*"):
        if not (HASHED.search(path.name) and path.is_file()):
            continue
        target = shared / path.relative_to(source)
        # A name with a hash never changes its content.
        if target.exists():
            os.utime(target)
        else:
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
        if path.is_file() and path.stat().st_mtime < limit:
            path.unlink(missing_ok=True)


def main() -> None:
    """Do both, as the arguments say."""
    source, shared, days = sys.argv[1:]
    keep(Path(source), Path(shared))
    remove_unused(Path(shared), float(days))


if __name__ == "__main__":
    main()
