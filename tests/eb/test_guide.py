"""The `eb` client has every command and option that the guide uses."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.tree import ROOT

FILES = ("README.md", "docs/elastic-beanstalk.md")
# Commands on their own line, or between backticks.
LINE = re.compile(r"^    (eb \S.*)$", re.MULTILINE)
INLINE = re.compile(r"`(eb [a-z]+[^`\n]*)`")


def eb_commands() -> list[list[str]]:
    """Return the words of every command in the documents, without comments."""
    commands = []
    for name in FILES:
        text = (ROOT / name).read_text().replace("\\\n", " ")
        for command in LINE.findall(text) + INLINE.findall(text):
            # Without the commands of the shell in it.
            command = re.sub(r"\$\([^)]*\)", "", command)
            commands.append(command.partition(" #")[0].split())
    return commands


@cache
def show_help(client: Path, command: str) -> str:
    """Return the help of a command."""
    return subprocess.run(
        [client, command, "--help"], capture_output=True, text=True, check=True
    ).stdout


def test_guide_names_the_main_eb_commands() -> None:
    named = {words[1] for words in eb_commands()}

    assert {"init", "create", "deploy", "status", "setenv", "swap", "clone"} <= named


@pytest.mark.parametrize("command", sorted({words[1] for words in eb_commands()}))
def test_eb_client_has_every_command_and_option_of_the_guide(client: Path, command: str) -> None:
    options = {
        word
        for words in eb_commands()
        if words[1] == command
        for word in words[2:]
        if re.fullmatch(r"-[a-z]|--[a-z_-]+", word)
    }
    known_options = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", show_help(client, command)))

    assert options <= known_options
