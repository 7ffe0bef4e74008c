"""The packages of one requirements file alone, for programs that have to do without the rest."""

import re
from importlib import metadata
from pathlib import Path

from tests.tree import ROOT


def only(name: str, folder: Path) -> Path:
    """Link the packages of requirements/NAME.txt into a folder and return it.

    Named by PYTHONPATH, with `python -S`, they are all that a program finds besides Python itself.
    """
    folder.mkdir()
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    for package in re.findall(r"^([a-z0-9][a-z0-9.-]*)==", text, re.MULTILINE):
        try:
            found = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            continue  # Another system's.
        tops = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        for top in tops:
            (folder / top).symlink_to(str(found.locate_file(top)))
    return folder
