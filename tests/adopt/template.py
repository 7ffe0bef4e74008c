"""The tree as a template, and copier as a team runs it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ops.environment.contract import VARIABLES
from tests.tree import copy_tree

WHO = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "Team"), ("EMAIL", "team@example.com"))
}


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit code."""

    code: int
    output: str


def run(folder: Path, *command: str, check: bool = True) -> Done:
    """Run a command, which has to succeed unless told."""
    done = subprocess.run(
        command,
        cwd=folder,
        # As a shell of the team's, without what these tests' own settings are.
        env={**{k: v for k, v in os.environ.items() if k not in VARIABLES}, **WHO},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout[-8000:]
    return Done(done.returncode, done.stdout)


def commit(folder: Path, *, tag: str = "") -> None:
    """Commit everything."""
    if not (folder / ".git").exists():
        run(folder, "git", "init", "--quiet")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "a step")
    if tag:
        run(folder, "git", "tag", tag)


def template_of(folder: Path) -> str:
    """Put this tree into a repository as version 1.0.0, and return its address."""
    copy_tree(folder)
    commit(folder, tag="v1.0.0")
    return f"git+file://{folder}"


def copier(folder: Path, *arguments: str, check: bool = True) -> Done:
    """Run copier, answering no question."""
    command = (sys.executable, "-m", "copier", *arguments)
    return run(folder, *command, check=check)


def copy(template: str, target: Path, answers: dict[str, str], *, check: bool = True) -> Done:
    """Make a project."""
    data = [part for key, value in answers.items() for part in ("--data", f"{key}={value}")]
    options = ("--trust", "--defaults", "--quiet")
    return copier(target.parent, "copy", *options, *data, template, str(target), check=check)


def update(folder: Path) -> Done:
    """Bring the newest version into a project."""
    return copier(folder, "update", "--trust", "--defaults")
