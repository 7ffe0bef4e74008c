"""The files of a team's project: the template's, less the parts left out, under the team's name."""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tools.tailor import marks

NAME: Final = "mysite"
# What belongs to each part.
TABLES: Final = ("tools/tailor/parts.toml", "demo/part.toml")
# What `./manage.py env write` writes, from the template's variables and the team's.
GENERATED: Final = (".env.sample", "docker-compose.environment.yaml", "docs/environment.md")
# What a project has in place of the template's own.
MOVED: Final = {
    "tools/tailor/README.md": "README.md",
    "requirements/team.in": "requirements/test.in",
    "requirements/team.txt": "requirements/test.txt",
}


def tracked(template: Path) -> list[str]:
    """Return the names of the template's files."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 (copier needs git as well)
        cwd=template,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [name for name in listing.split("\0") if name]


def sources(template: Path, kept: set[str]) -> dict[str, bytes]:
    """Return a project's files, still with the template's name and names: those of its parts."""
    table = parts(template)
    out = [part for name, part in table.items() if name not in kept]
    needed = [file for name in kept for file in table.get(name, {}).get("needs", [])]
    left_out = [file for part in out for file in part.get("files", [])]
    files = {
        name: (template / name).read_bytes()
        for name in tracked(template)
        if name in (*MOVED, *needed) or not within(name, [*left_out, *MOVED.values()])
    }
    return {name: tailored(name, content, table, kept) for name, content in files.items()}


def parts(template: Path) -> dict[str, dict[str, Any]]:
    """Return what belongs to each part."""
    table, demo = (tomllib.loads((template / name).read_text()) for name in TABLES)
    return {**table, "demo": demo}


def within(name: str, entries: list[str]) -> bool:
    """Return whether a file is one of these, or in a folder of them."""
    return any(name == entry or name.startswith(f"{entry}/") for entry in entries)


def tailored(name: str, content: bytes, table: dict[str, dict[str, Any]], kept: set[str]) -> bytes:
    """Return a file without the lines and packages of the parts left out.

    Args:
        name: its path in the project.
        content: its bytes; a binary file stays as it is.
        table: the parts of parts.toml, by name.
        kept: the parts that the project has.
    """
    if b"\0" in content:
        return content
    text = content.decode()
    for part, described in table.items():
        if part not in kept:
            text = marks.cut(text, part)
            if name.startswith("requirements/"):
                text = marks.without_packages(text, described.get("packages", []))
        # The command `remove_demo` needs the demo's marks.
        elif part != "demo":
            text = marks.unmark(text, part)
        for old, new in described.get("with" if part in kept else "without", []):
            text = text.replace(old, new)
    if name.endswith(".py"):
        # Brackets of which nothing is left, as `make format` writes them.
        text = re.sub(r"([\[({])\n *([\])}])", r"\1\2", text)
    return text.encode()


def moved(source: str) -> str:
    """Return where a project has a file of the template's."""
    return MOVED.get(source) or re.sub("^tools/tailor/adopted/", f"{NAME}/", source)


@contextmanager
def staged(
    template: Path, kept: set[str], name: str, change: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Give a folder with the project's files, the generated ones too.

    Args:
        template: the folder of this tree.
        kept: the parts that the project has.
        name: the project's name.
        change: what else is changed in that folder, before the generated files are written.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for source, content in sources(template, kept).items():
            target = folder / moved(source).replace(NAME, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.replace(NAME.encode(), name.encode()))
            shutil.copymode(template / source, target)
        if change:
            change(folder)
        subprocess.run(
            [sys.executable, "-B", "manage.py", "env", "write"],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        yield folder
