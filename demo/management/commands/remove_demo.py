"""Take the demo out of the project: this app, and what is marked as its own in other files.

tools/tailor/marks.py describes the marks; demo/part.toml lists the files and packages.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from tools.tailor import marks

PART = Path(__file__).resolve().parents[2] / "part.toml"
# The load tests' figures, which have no marks.
FIGURES = re.compile(r"^\| [0-9,]+ (?:uploads|visits counted) .*\n", re.M)
# How a module uses the demo, and the folders in which tests and tools may name any app.
USE = re.compile(r"""^\s*(?:from|import) demo\b|["']demo["'.]""")
STACK = {"benchmarks", "demo", "ops", "tests", "tools"}
# copier's answers: an update adds the demo again while they say `demo: true`.
ANSWERS = ".copier-answers.yml"
NEXT = """The demo is removed. Next:
1. Check the changes: git status
2. Check the project: make lint test-app
3. Where the demo has run, its tables stay in the database. To drop them, run this SQL:
   DROP TABLE demo_upload, demo_counter; DELETE FROM django_migrations WHERE app = 'demo';"""


class Command(BaseCommand):
    """Remove the demo."""

    help = "Remove the demo: its app, tests, docs, settings and package. Commit your work before."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take --force."""
        parser.add_argument("--force", action="store_true", help="even with uncommitted changes")

    def handle(self, *args: Any, force: bool, **options: Any) -> None:
        """Cut out the marked parts, write the generated files again, then remove the files.

        Raises:
            CommandError: there are uncommitted changes, git or `manage.py env write` failed, or the
                team's own files use the demo still.
        """
        root = Path(settings.BASE_DIR)
        if not force and changed(root):
            raise CommandError(
                "There are uncommitted changes. Commit them, so that you can compare and undo "
                "this, or use --force."
            )
        part = tomllib.loads(PART.read_text())
        for path in tracked(root):
            cut(path, part["packages"])
        decline(root / ANSWERS)
        run(root, sys.executable, "manage.py", "env", "write")
        for name in part["files"]:
            path = root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if users := still_used(root):
            raise CommandError(
                f"The demo is removed, but these lines use it:\n{users}\nRemove them, too. Then "
                "check: ./manage.py check"
            )
        self.stdout.write(NEXT)


def decline(answers: Path) -> None:
    """Answer copier's question about the demo with no, where copier made the project."""
    if answers.exists():
        text = answers.read_text()
        answers.write_text(re.sub("^demo: true$", "demo: false", text, flags=re.M))


def run(root: Path, *command: str) -> str:
    """Return what a command prints.

    Raises:
        CommandError: it failed.
    """
    done = subprocess.run(  # noqa: S603 (all of it is written here)
        command, cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def changed(root: Path) -> bool:
    """Return whether there is work that is not committed.

    Raises:
        CommandError: as `run`.
    """
    return bool(run(root, "git", "status", "--porcelain"))


def still_used(root: Path) -> str:
    """Return the lines of the team's modules that name the demo.

    Raises:
        CommandError: as `run`.
    """
    names = run(root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    modules = [Path(name) for name in names.split("\0") if name.endswith(".py")]
    return "\n".join(
        f"{module}:{number}: {line.strip()}"
        for module in modules
        if module.parts[0] not in STACK and (root / module).exists()
        for number, line in enumerate((root / module).read_text().splitlines(), start=1)
        if USE.search(line)
    )


def tracked(root: Path) -> list[Path]:
    """Return the project's text files but the demo's own.

    Raises:
        CommandError: as `run`.
    """
    # -z: git would quote names that are not ASCII.
    patterns = ("-e", "remove_demo", "-e", "^pillow==", "-e", "uploads by")
    names = run(root, "git", "grep", "--name-only", "-I", "-z", "--untracked", *patterns)
    return [root / name for name in names.split("\0") if name and not name.startswith("demo/")]


def cut(path: Path, packages: list[str]) -> None:
    """Take what is the demo's out of a file; one that has nothing of it stays as it is."""
    # A team's file may have any encoding and line ends.
    text = path.read_bytes().decode(errors="surrogateescape")
    left = marks.cut(text, "demo")
    if path.parent.name == "requirements":
        left = marks.without_packages(left, packages)
    if path.parent.name == "docs":
        left = FIGURES.sub("", left)
    if left != text:
        path.write_bytes(left.encode(errors="surrogateescape"))
