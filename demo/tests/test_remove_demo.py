"""`remove_demo` cuts marked parts out of a file (a clone: tests/stack/test_team_project.py)."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from demo.management.commands.remove_demo import PART, cut, run, still_used, tracked
from tests.tree import ROOT, copy_tree
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


def test_lines_that_use_the_demo_without_a_mark_are_named(tmp_path: Path) -> None:
    run(tmp_path, "git", "init", "--quiet")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/models.py").write_text("import os\nfrom demo.models import Upload\n")
    (tmp_path / "shop/urls.py").write_text('path("demos/", include("demo.urls"))\n')
    (tmp_path / "shop/apps.py").write_text('APPS = ["demos", "shop"]\nimport demography\n')

    assert still_used(tmp_path).splitlines() == [
        "shop/models.py:2: from demo.models import Upload",
        'shop/urls.py:1: path("demos/", include("demo.urls"))',
    ]


def test_python_files_without_the_demo_are_as_make_format_writes_them(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path)
    run(tree, "git", "init", "--quiet")
    for path in tracked(tree):
        cut(path, [])
    for name in tomllib.loads(PART.read_text())["files"]:
        subprocess.run(["rm", "-r", tree / name], check=True)

    ruff = Path(sys.executable).with_name("ruff")
    run(tree, str(ruff), "check", "--no-cache", ".")
    run(tree, str(ruff), "format", "--no-cache", "--check", ".")


def test_files_that_remove_demo_deletes_exist() -> None:
    assert [
        name for name in tomllib.loads(PART.read_text())["files"] if not (ROOT / name).exists()
    ] == []
