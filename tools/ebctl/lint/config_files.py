""".ebextensions: each file as YAML, its keys, its commands and files.

https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/ebextensions.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from tools.ebctl.bundle import Bundle
from tools.ebctl.lint import nodes, platforms
from tools.ebctl.lint.finding import Finding, did_you_mean
from tools.ebctl.lint.resources import SECTIONS, Section
from tools.ebctl.lint.settings import Setting, settings_of

FOLDER = ".ebextensions"
KEYS = (
    "option_settings",
    *SECTIONS,
    "packages",
    "sources",
    "files",
    "users",
    "groups",
    "commands",
    "container_commands",
    "services",
)
# What a command may say; leader_only is known to container_commands alone.
COMMAND_KEYS = ("command", "cwd", "env", "test", "ignoreErrors")
FILE_KEYS = (
    "content",
    "source",
    "encoding",
    "group",
    "owner",
    "mode",
    "authentication",
    "context",
)
# The platform before Amazon Linux 2 read nginx's files here.
OLD_NGINX = re.compile(rf"{re.escape(FOLDER)}/nginx/")

# AWS's guide says six digits, and its own samples have four and five.
MODE = re.compile(r"[0-7]{4,6}")

Found = Iterator[Finding | Setting | Section]


def check(bundle: Bundle) -> Found:
    """Yield the settings and template sections of all files in their order, and what is wrong."""
    for name, file in bundle.under(FOLDER):
        if OLD_NGINX.match(name):
            yield Finding(name, 0, "it is not read here; put it below .platform/nginx", "not-read")
        elif "/" in name.removeprefix(f"{FOLDER}/"):
            continue  # what `files` or `container_commands` use
        elif not name.endswith(".config"):
            yield Finding(name, 0, "it is not read: the name has to end in .config", "not-read")
        else:
            yield from check_file(name, file.text)


def check_file(name: str, text: str) -> Found:
    """Yield the settings and template sections of one file, and what is wrong with it."""
    root, findings = nodes.parse(name, text)
    yield from findings
    if root is None:
        if not findings and not text.strip():
            yield Finding(name, 0, "it is empty; Elastic Beanstalk needs a key in it", "yaml")
        return
    if not isinstance(root, yaml.MappingNode):
        yield Finding(name, nodes.line(root), "it holds no keys such as option_settings", "yaml")
        return
    if elsewhere := platforms.other(name, root):
        yield elsewhere
        return
    tags = list(nodes.tags(root))
    for tag, line in tags:
        message = f"{tag} is not supported here; write Ref: or Fn::{tag[1:]}:"
        yield Finding(name, line, message, "yaml")
    if tags:
        return
    for key, value, line in nodes.pairs(root):
        yield from check_key(name, key, value, line)


def check_key(name: str, key: str, value: nodes.Node, line: int) -> Found:
    """Yield what one key of a file holds, and what is wrong with it.

    Args:
        name: the file's path in the bundle.
        key: the key.
        value: its value.
        line: the line of the key, from 1.
    """
    if key not in KEYS:
        hint = did_you_mean(key, KEYS)
        yield Finding(name, line, f"{key!r} is not known here.{hint}", "key")
    elif key == "option_settings":
        yield from settings_of(name, value)
    elif key in SECTIONS:
        yield Section(name, key, value)
    elif key in ("commands", "container_commands"):
        yield from check_commands(name, key, value)
    elif key == "files":
        yield from check_files(name, value)


def check_commands(name: str, key: str, node: nodes.Node) -> Iterator[Finding]:
    """Yield what is wrong with commands."""
    allowed = (*COMMAND_KEYS, "leader_only") if key == "container_commands" else COMMAND_KEYS
    for title, body, line in nodes.pairs(node):
        parts = {part for part, _, _ in nodes.pairs(body)}
        if "command" not in parts:
            yield Finding(name, line, f"{title}: it has no `command`", "command")
        for part, value, number in nodes.pairs(body):
            if part == "leader_only" and key == "commands":
                message = f"{title}: leader_only counts in container_commands alone"
                yield Finding(name, number, message, "command")
            elif part not in allowed:
                hint = did_you_mean(part, allowed)
                yield Finding(name, number, f"{title}: {part!r} is not known.{hint}", "command")
            elif part in ("ignoreErrors", "leader_only") and nodes.text(value) not in BOOLEANS:
                yield Finding(name, number, f"{title}: {part} is true or false", "command")


BOOLEANS = ("true", "false")


def check_files(name: str, node: nodes.Node) -> Iterator[Finding]:
    """Yield what is wrong with files that are put onto an instance."""
    for path, body, line in nodes.pairs(node):
        parts = {part: value for part, value, _ in nodes.pairs(body)}
        if not path.startswith("/"):
            yield Finding(name, line, f"{path}: the path has to start with /", "file")
        if not parts.keys() & {"content", "source"}:
            yield Finding(name, line, f"{path}: it has neither content nor source", "file")
        mode = nodes.text(parts.get("mode")) if "mode" in parts else None
        if mode is not None and not MODE.fullmatch(mode):
            message = f'{path}: the mode {mode!r} is not six digits such as "000644"'
            yield Finding(name, line, message, "file")
        for part in parts:
            if part not in FILE_KEYS:
                hint = did_you_mean(part, FILE_KEYS)
                yield Finding(name, line, f"{path}: {part!r} is not known.{hint}", "file")
