"""A copier template of this tree, and copier commands as a team runs them."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ops.environment.contract import VARIABLES
from tests.tree import copy_tree

GIT_IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "Team"), ("EMAIL", "team@example.com"))
}


@dataclass(frozen=True)
class CommandResult:
    """The exit code and the output of a command."""

    code: int
    output: str


def run_command(folder: Path, *command: str, check: bool = True) -> CommandResult:
    """Run a command; with `check`, assert that it succeeds."""
    done = subprocess.run(
        command,
        cwd=folder,
        # The environment of a team's shell, without the settings of these tests.
        env={**{k: v for k, v in os.environ.items() if k not in VARIABLES}, **GIT_IDENTITY},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout[-8000:]
    return CommandResult(done.returncode, done.stdout)


def commit(folder: Path, *, tag: str = "") -> None:
    """Commit everything."""
    if not (folder / ".git").exists():
        run_command(folder, "git", "init", "--quiet")
    run_command(folder, "git", "add", "--all")
    run_command(folder, "git", "commit", "--quiet", "--message", "a step")
    if tag:
        run_command(folder, "git", "tag", tag)


def create_template(folder: Path) -> str:
    """Commit this tree to a repository as version 1.0.0, and return its URL."""
    copy_tree(folder)
    commit(folder, tag="v1.0.0")
    return f"git+file://{folder}"


def run_copier(folder: Path, *arguments: str, check: bool = True) -> CommandResult:
    """Run copier without interactive answers."""
    command = (sys.executable, "-m", "copier", *arguments)
    return run_command(folder, *command, check=check)


def copy_template(
    template: str, target: Path, answers: dict[str, str], *, check: bool = True
) -> CommandResult:
    """Create a project with these answers."""
    data = [part for key, value in answers.items() for part in ("--data", f"{key}={value}")]
    options = ("--trust", "--defaults", "--quiet")
    return run_copier(target.parent, "copy", *options, *data, template, str(target), check=check)


def update_project(folder: Path, *options: str) -> CommandResult:
    """Update a project to the newest version."""
    return run_copier(folder, "update", "--trust", "--defaults", *options)
