"""Only the packages of one requirements file, for programs that must not need others."""

import re
from importlib import metadata
from pathlib import Path

from tests.tree import ROOT


def only(name: str, folder: Path) -> Path:
    """Link the packages of requirements/NAME.txt into a folder and return it.

    With this folder as PYTHONPATH, `python -S` imports nothing else but the standard library.
    """
    folder.mkdir()
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    for package in re.findall(r"^([a-z0-9][a-z0-9.-]*)==", text, re.MULTILINE):
        try:
            distribution = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            continue  # For another operating system.
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        for top in tops:
            (folder / top).symlink_to(str(distribution.locate_file(top)))
    return folder
