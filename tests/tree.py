"""A clean copy of the project: a fresh clone plus uncommitted changes."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The folder that a copy has: the images of an adopted project need more than the stack's own.
TOP = ROOT


def tracked_files() -> list[Path]:
    """Return the files that git tracks or would track, relative to `TOP`."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TOP,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [Path(name) for name in listing.split("\0") if name and (TOP / name).is_file()]


def copy_tree(target: Path) -> Path:
    """Copy these files to `target`, without `.env`, `.venv` and data; return the copy of `ROOT`."""
    for name in tracked_files():
        destination = target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TOP / name, destination)
    return target / ROOT.relative_to(TOP)
