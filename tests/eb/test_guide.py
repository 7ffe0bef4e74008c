"""The guide's `eb` commands are the client's: each exists, with every option that is named."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.tree import ROOT

FILES = ("README.md", "docs/elastic-beanstalk.md")
# A line of its own, or the words between backticks; a line that goes on is one.
LINE = re.compile(r"^    (eb \S.*)$", re.MULTILINE)
INLINE = re.compile(r"`(eb [a-z]+[^`\n]*)`")


def commands() -> list[list[str]]:
    """Return every command that the documents name, as words, without their comments."""
    found = []
    for name in FILES:
        text = (ROOT / name).read_text().replace("\\\n", " ")
        for command in LINE.findall(text) + INLINE.findall(text):
            found.append(command.partition(" #")[0].split())
    return found


@cache
def help_of(client: Path, command: str) -> str:
    """Return what the client says of a command."""
    return subprocess.run(
        [client, command, "--help"], capture_output=True, text=True, check=True
    ).stdout


def test_the_documents_name_commands() -> None:
    named = {words[1] for words in commands()}

    assert {"init", "create", "deploy", "status", "setenv", "swap", "clone"} <= named


@pytest.mark.parametrize("command", sorted({words[1] for words in commands()}))
def test_the_client_knows(client: Path, command: str) -> None:
    options = {
        word
        for words in commands()
        if words[1] == command
        for word in words[2:]
        if re.fullmatch(r"-[a-z]|--[a-z_-]+", word)
    }
    told = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", help_of(client, command)))

    assert options <= told
