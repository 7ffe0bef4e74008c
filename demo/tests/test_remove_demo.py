"""`remove_demo` cuts marked parts out of a file (a clone: tests/stack/test_team_project.py)."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from demo.management.commands.remove_demo import PART, cut, run, tracked
from tests.tree import ROOT
from tools.tailor import marks

MARK = re.compile(r"# remove_([a-z-]+)(?:: begin)?$", re.MULTILINE)

PYTHON = """import a
import b  # remove_demo


def kept() -> None:
    a()


# remove_demo: begin
def gone() -> None:
    b()


# remove_demo: end


def last() -> None:
    # remove_demo: begin
    gone()
    # remove_demo: end
    kept()
"""
MARKDOWN = """# Title

<!-- remove_demo: begin -->
## Gone
<!-- remove_demo: end -->

| kept |
| gone | <!-- remove_demo -->
"""
REQUIREMENTS = """one==1 \\
    --hash=sha256:1
pillow==13 \\
    --hash=sha256:2 \\
    --hash=sha256:3
two==2 \\
    --hash=sha256:4
"""


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        (
            "a.py",
            PYTHON,
            "import a\n\n\ndef kept() -> None:\n    a()\n\n\ndef last() -> None:\n    kept()\n",
        ),
        ("docs/a.md", MARKDOWN, "# Title\n\n| kept |\n"),
        (
            "requirements/a.txt",
            REQUIREMENTS,
            "one==1 \\\n    --hash=sha256:1\ntwo==2 \\\n    --hash=sha256:4\n",
        ),
    ],
    ids=["python", "markdown", "requirements"],
)
def test_remove_demo_cuts_marked_parts_and_leaves_no_gap(
    tmp_path: Path, name: str, before: str, after: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(before)

    cut(path, ["pillow"])

    assert path.read_text() == after


def test_remove_demo_keeps_unmarked_files_unchanged(tmp_path: Path) -> None:
    notes = tmp_path / "docs" / "übersicht notes.md"
    notes.parent.mkdir()
    content = "fünf uploads by day\r\nno word of remove_demo\n\n".encode("latin-1")
    notes.write_bytes(content)
    run(tmp_path, "git", "init", "--quiet")

    assert tracked(tmp_path) == [notes]
    cut(notes, ["pillow"])

    assert notes.read_bytes() == content


def test_python_files_parse_without_the_marked_lines_of_any_part() -> None:
    marked = [ROOT / name for name in tracked(ROOT) if name.suffix == ".py"]
    texts = {path: path.read_text() for path in marked if path.name != "test_remove_demo.py"}
    checked = 0
    for path, text in texts.items():
        for part in set(MARK.findall(text)):
            ast.parse(marks.cut(text, part), f"{path} without {part}")
            checked += 1
    assert checked > 15


def test_files_that_remove_demo_deletes_exist() -> None:
    assert [
        name for name in tomllib.loads(PART.read_text())["files"] if not (ROOT / name).exists()
    ] == []
