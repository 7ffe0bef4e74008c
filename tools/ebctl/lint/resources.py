"""What the .config files add to the environment's CloudFormation template, by cfn-lint.

All files together are one template, with stand-ins for what Elastic Beanstalk puts into it; a file
that changes one of those resources states its difference only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tools.ebctl.lint import nodes
from tools.ebctl.lint.finding import Finding

if TYPE_CHECKING:
    from cfnlint.runner import Runner

REGION = "us-east-1"
# The keys of a .config file that are a template's sections.
SECTIONS = ("Parameters", "Mappings", "Resources", "Outputs")
# Elastic Beanstalk's own function: its text is known at the deploy only.
OWN_FUNCTION = "Fn::GetOptionSetting"
UNKNOWN_TEXT = "EBOptionSetting"
# CloudFormation's own words for a resource that Elastic Beanstalk takes out, or adds to a list.
OWN_PREFIX = "CmpFn::"
# Which of the two a Ref gives depends on the network, says Elastic Beanstalk's guide.
GROUP_FORMATS = ("AWS::EC2::SecurityGroup.Name", "AWS::EC2::SecurityGroup.Id")


@dataclass(frozen=True)
class Section:
    """One section of a template, as a file has it."""

    file: str
    name: str
    node: nodes.Node


@cache
def own_resources() -> dict[str, dict[str, Any]]:
    """Return the resources of Elastic Beanstalk by their names."""
    path = Path(__file__).with_name("environment.yaml")
    content: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


@cache
def runner() -> Runner:
    """Return cfn-lint; its rules read 100 files, once for all templates of a process."""
    from cfnlint.config import ConfigMixIn
    from cfnlint.runner import Runner

    return Runner(ConfigMixIn(regions=[REGION]))


def check(sections: Sequence[Section]) -> Iterator[Finding]:
    """Yield what CloudFormation would refuse in the sections of all files."""
    usable = []
    for section in sections:
        if isinstance(nodes.value(section.node), dict):
            usable.append(section)
        else:
            message = f"{section.name} has nothing below it"
            yield Finding(section.file, nodes.line(section.node), message, "resource")
    if any(section.name in ("Resources", "Outputs") for section in usable):
        yield from lint(usable)


def lint(sections: Sequence[Section]) -> Iterator[Finding]:
    """Yield what cfn-lint calls an error; its warnings are advice on valid templates."""
    from cfnlint.decode.decode import decode_str

    content, faults = decode_str(json.dumps(template(sections)))
    for match in faults or runner().validate_template(content or {}):
        path = [str(part) for part in getattr(match, "path", None) or []]
        message = " ".join(str(match.message).split())
        if not match.rule.id.startswith("E") or all(word in message for word in GROUP_FORMATS):
            continue
        place = locate(sections, path)
        if place:
            yield Finding(*place, message, f"cfn-lint {match.rule.id}")


def template(sections: Sequence[Section]) -> dict[str, Any]:
    """Return the template of the environment: Elastic Beanstalk's own, and what the files say."""
    result: dict[str, Any] = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Parameters": {UNKNOWN_TEXT: {"Type": "String"}},
        "Resources": dict(own_resources()),
    }
    for section in sections:
        target = result.setdefault(section.name, {})
        for name, given in plain(nodes.value(section.node)).items():
            if section.name == "Resources":
                given = changed(target.get(name), given)
            if given is not None:
                target[name] = given
    return result


def changed(base: Any, given: Any) -> Any:
    """Return a resource with a file's differences; None where a file only takes it out."""
    if not isinstance(given, dict):
        return given
    given = {key: value for key, value in given.items() if not key.startswith(OWN_PREFIX)} or base
    if not (isinstance(base, dict) and isinstance(given, dict)):
        return given
    properties = {**base.get("Properties", {}), **(given.get("Properties") or {})}
    return {**base, **given, "Properties": properties}


def plain(value: Any) -> Any:
    """Return a value with Elastic Beanstalk's own function replaced by a reference."""
    if isinstance(value, dict):
        if set(value) == {OWN_FUNCTION}:
            return {"Ref": UNKNOWN_TEXT}
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def locate(sections: Sequence[Section], path: list[str]) -> tuple[str, int] | None:
    """Return the file and line of a template's path; None if no file has it."""
    deepest, place = 0, None
    for section in sections:
        if path[:1] == [section.name]:
            depth, line = follow(section.node, path[1:])
            if depth > deepest:
                deepest, place = depth, (section.file, line)
    return place


def follow(node: nodes.Node, path: list[str]) -> tuple[int, int]:
    """Return how many keys of a path a node has, and the line of the last one."""
    line = nodes.line(node)
    current: nodes.Node | None = node
    for depth, part in enumerate(path):
        values = [(value, line) for key, value, line in nodes.pairs(current) if key == part]
        if not values:
            return depth, line
        current, line = values[0]
    return len(path), line
