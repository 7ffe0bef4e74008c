"""Files for other platforms than Docker on Linux: named as that, and not checked further."""

from __future__ import annotations

import re

from tools.ebctl.lint import nodes
from tools.ebctl.lint.finding import Finding

# https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/command-options-specific.html
NAMESPACE = re.compile(r"aws:elasticbeanstalk:container:([a-z]+)(:.*)?")
PLATFORMS = {
    "dotnet": ".NET on Windows",
    "golang": "Go",
    "java": "Java SE",
    "nodejs": "Node.js",
    "php": "PHP",
    "python": "Python",
    "ruby": "Ruby",
    "tomcat": "Tomcat",
}
WINDOWS = "Windows"
WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]")
# https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/customize-containers-windows-ec2.html
WINDOWS_COMMAND_KEY = "waitAfterCompletion"


def other(file: str, root: nodes.Node) -> Finding | None:
    """Return that a file is for another platform, by what only that platform reads."""
    for key, value, _ in nodes.pairs(root):
        for name, line, platform in marks(key, value):
            message = (
                f"it is for {platform} ({name}); this environment's platform is Docker on Linux"
            )
            return Finding(file, line, message, "platform")
    return None


def marks(key: str, node: nodes.Node) -> list[tuple[str, int, str]]:
    """Return what only another platform has below a key: the word, its line, the platform."""
    if key == "files":
        paths = ((path, line) for path, _, line in nodes.pairs(node))
        return [(path, line, WINDOWS) for path, line in paths if WINDOWS_PATH.match(path)]
    if key in ("commands", "container_commands"):
        return [
            (part, line, WINDOWS)
            for _, body, _ in nodes.pairs(node)
            for part, _, line in nodes.pairs(body)
            if part == WINDOWS_COMMAND_KEY
        ]
    if key == "option_settings":
        return [
            (name, line, PLATFORMS[match[1]])
            for name, line in namespaces(node)
            if (match := NAMESPACE.fullmatch(name)) and match[1] in PLATFORMS
        ]
    return []


def namespaces(node: nodes.Node) -> list[tuple[str, int]]:
    """Return the namespaces of option settings in both of their forms, and their lines."""
    listed = nodes.items(node)
    if listed:
        parts = [nodes.child(item, "namespace") for item in listed]
        return [(nodes.text(part) or "", nodes.line(part)) for part in parts if part is not None]
    return [(name, line) for name, _, line in nodes.pairs(node)]
