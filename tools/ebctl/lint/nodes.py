"""YAML as written: text, keys and line numbers, before anything is made of them.

Values stay the text in the file, because that is what Elastic Beanstalk gets: YAML
would make `no` a truth value and `1_000` a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import yaml

from tools.ebctl.lint.finding import Finding

# yaml.Node; the package has no types of its own.
Node: TypeAlias = Any


def parse(file: str, text: str) -> tuple[Node | None, list[Finding]]:
    """Return a file's document, or why it cannot be read; and each key that occurs twice."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"this is not YAML: {error.problem or error.context}"
        if "\\t" in message:
            message += "; indent by spaces, not tabs"
        return None, [Finding(file, mark.line + 1 if mark else 0, message, "yaml")]
    except yaml.YAMLError as error:
        return None, [Finding(file, 0, f"this is not YAML: {error}", "yaml")]
    return root, list(twice(file, root)) if root else []


def line(node: Node) -> int:
    """Return the line on which a node starts."""
    return int(node.start_mark.line) + 1


def pairs(node: Node | None) -> Iterator[tuple[str, Node, int]]:
    """Yield a mapping's keys, values and lines; nothing of another node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), value, line(key)


def items(node: Node | None) -> list[Node]:
    """Return a list's items; nothing of another node."""
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def child(node: Node | None, name: str) -> Node | None:
    """Return a mapping's value."""
    return next((value for key, value, _ in pairs(node) if key == name), None)


def text(node: Node | None) -> str | None:
    """Return a scalar's text."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def is_computed(node: Node | None) -> bool:
    """Return whether a value is known at the deploy only: a function, or one between backticks.

    https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/ebextensions-functions.html
    """
    names = [key for key, _, _ in pairs(node)]
    written = (text(node) or "").strip()
    return (len(names) == 1 and names[0].startswith(("Ref", "Fn::"))) or (
        written.startswith("`{") and written.endswith("}`")
    )


def twice(file: str, node: Node) -> Iterator[Finding]:
    """Yield each key that occurs twice in a mapping: of the two the later would count, silently."""
    seen: dict[str, int] = {}
    for key, value, number in pairs(node):
        if key in seen:
            message = f"the key {key!r} is in line {seen[key]} already, whose value is lost"
            yield Finding(file, number, message, "duplicate-key")
        seen.setdefault(key, number)
        yield from twice(file, value)
    for item in items(node):
        yield from twice(file, item)


def tags(node: Node) -> Iterator[tuple[str, int]]:
    """Yield the tags of a file's own, such as !Ref, and their lines."""
    if node.tag.startswith("!"):
        yield node.tag, line(node)
    for _, value, _ in pairs(node):
        yield from tags(value)
    for item in items(node):
        yield from tags(item)


def value(node: Node) -> Any:
    """Return what YAML makes of a node."""
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()
