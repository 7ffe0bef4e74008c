"""The commands of README and docs: in code blocks, and between backticks."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.tree import ROOT

# Programs that a page tells readers to run. A block with one of them has only commands.
PROGRAMS = {
    *("./manage.py", "./stackctl", "./ebctl", "./swarmctl"),
    *(".venv/bin/pytest", ".ci/run", "make", "copier"),
    *("docker", "eb", "aws", "git", "ssh", "ssh-keyscan", "curl", "openssl", "pipx", "apt-get"),
    *("systemctl", "journalctl", "iptables", "nft", "mysqldump", "pg_dump", "cp", "echo", "printf"),
}
ASSIGNMENTS = re.compile(r"(?:[A-Z][A-Z0-9_]*=(?:'[^']*'|[^\s']*) +)*")


def pages() -> list[Path]:
    """Return README, the pages of docs, and those of the variants."""
    docs = (ROOT / "docs").rglob("*.md"), (ROOT / "variants").glob("*/README.md")
    return [ROOT / "README.md", *(page for folder in docs for page in sorted(folder))]


@cache
def commands() -> dict[str, list[str]]:
    """Return the commands of all pages, with the names of their pages."""
    found: dict[str, list[str]] = {}
    for page in pages():
        for command in dict.fromkeys(commands_of(page.read_text())):
            found.setdefault(command, []).append(page.relative_to(ROOT).as_posix())
    return found


def documented(command: str) -> str:
    """Return a command that a page has; fail if none has it."""
    assert command in commands(), f"no page of the documentation has this command: {command}"
    return command


def run_documented(
    folder: Path,
    environment: Mapping[str, str],
    command: str,
    changes: Mapping[str, str] | None = None,
    *,
    code: int = 0,
    typed: str = "",
) -> str:
    """Run a command as a page has it, assert its exit code, and return its output.

    `changes` has what the page says, and what stands for it here; `typed` is standard input.
    """
    text = documented(command)
    for said, here in (changes or {}).items():
        assert said in text, f"{command} has no {said}"
        text = text.replace(said, here)
    if not (folder / ".venv").exists():
        # With the packages of the tests.
        text = re.sub(r"^\./stackctl", f"{sys.executable} -m tools.stackctl", text)
        text = re.sub(r"^\./manage.py", f"{sys.executable} manage.py", text)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", text],
        cwd=folder,
        # As typed, not as a part of `make test`, whose make would name its folders.
        env={name: text for name, text in environment.items() if not name.startswith("MAKE")},
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{text}\n{done.stdout[-5000:]}"
    return done.stdout


def commands_of(text: str) -> Iterator[str]:
    """Yield the commands of a page, each in one line and without its comment."""
    for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE):
        yield from commands_of_block(block)
    for code in re.findall(r"(?<!`)`([^`\n]+)`", re.sub(r"^    .*$", "", text, flags=re.MULTILINE)):
        command = normal(code)
        # Not the name of a program alone.
        alone = command == "docker compose" or " " not in command
        if is_command(command) and (not alone or command == ".ci/run"):
            yield from command.split(" && ")


def commands_of_block(block: str) -> Iterator[str]:
    """Yield the commands of a code block; none if it is something else, such as Python."""
    # Without the ends of lines that continue, and the text of files after <<.
    block = re.sub(r" *\\\n *", " ", block)
    block = re.sub(r"^(.* <<(\w+))\n(?:.*\n)*? *\2$", r"\1", block, flags=re.MULTILINE)
    lines = [normal(line) for line in block.splitlines() if not line.startswith("     ")]
    parts = [part for line in lines for part in line.split(" && ")]
    if any(map(is_command, parts)):
        for part in parts:
            if not part.startswith("#") and not ASSIGNMENTS.fullmatch(f"{part} "):
                yield part


def normal(line: str) -> str:
    """Return a line without its comment, `sudo`, cron's time, and the variable that it sets."""
    line = re.split(r"\s{2,}|\s#", line.strip())[0].removesuffix(" ...").removeprefix("sudo ")
    line = re.sub(r"^(?:[\d*]+ ){5}", "", line)
    line = re.sub(r"^\w+=\$\((.*)\)$", r"\1", line)
    return re.sub(r"^(manage\.py|stackctl|ebctl|swarmctl)(?= )", r"./\1", line)


def is_command(line: str) -> bool:
    """Return whether a line begins with a program, after variables for it."""
    return ASSIGNMENTS.sub("", line, count=1).partition(" ")[0] in PROGRAMS
