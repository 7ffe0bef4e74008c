"""HAProxy's configuration file, as its running container sees it: is it right, what does it name.

HAProxy itself reads it, in the container and with its environment, so that all of its language
counts. What it names has secrets in it, and is never shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..common.faults import StackctlError
from ..docker import engine
from . import haproxy, listening
from .kept_state import Address

# Where the file is in this project.
SHOWN = "haproxy/haproxy.cfg"
_HEAD = re.compile(r"^\[(?P<level>[A-Z]+)\]\s+\(\d+\) : (?:config : )*")
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN")
# Printed at every check without a state file, which is normal.
_USUAL = "server state file"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that HAProxy accepts."""

    # By backend and server.
    servers: dict[tuple[str, str], Address]
    warnings: tuple[str, ...]


def check(container: engine.Container) -> Configuration:
    """Return what the configuration file says, when HAProxy accepts it.

    https://docs.haproxy.org/3.0/management.html#3 (-c and -dC)

    Raises:
        StackctlError: HAProxy refuses it; its own words, with file and line, come along.
    """
    command = (haproxy.START, "haproxy", "-c", "-f", haproxy.CONFIG)
    result = engine.execute(container.id, *command)
    messages = Messages.parse(result.err, container)
    if not result.ok:
        words = messages.alerts or (f"`haproxy -c` ended with code {result.code}.",)
        raise StackctlError(
            f"HAProxy refuses {SHOWN}; nothing was changed, the previous configuration is in use",
            "\n".join((*words, "Correct it, then: ./stackctl reload")),
        )
    # A dump ends with an exit code of its own, also when all is right. Secrets are in it.
    dump = engine.execute(container.id, *command, "-dC").out
    listening.require(container.id, dump.splitlines(), SHOWN)
    return Configuration(dict(_servers(dump.splitlines())), messages.warnings)


@dataclass(frozen=True, slots=True)
class Messages:
    """What HAProxy said while it read its configuration, without what is always said."""

    alerts: tuple[str, ...]
    warnings: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, container: engine.Container) -> Messages:
        """Sort the lines; the file is called by its name here, and no secret is repeated."""
        lines: dict[str, list[str]] = {}
        level = ""
        for line in _without_secrets(text, container).splitlines():
            head = _HEAD.match(line)
            level = head["level"] if head else level
            words = line[head.end() :] if head else line
            if words.strip() and _USUAL not in words:
                lines.setdefault(level, []).append(words.replace(haproxy.CONFIG, SHOWN))
        return cls(tuple(lines.get("ALERT", ())), tuple(lines.get("WARNING", ())))


def _servers(lines: Iterable[str]) -> Iterable[tuple[tuple[str, str], Address]]:
    """Read the servers with a name and port out of HAProxy's dump of its configuration."""
    backend = ""
    for line in lines:
        words = line.split()
        if line[:1].strip() and words:
            backend = words[1] if words[0] in ("backend", "listen") and len(words) > 1 else ""
        elif backend and words[:1] == ["server"] and len(words) > 2:
            host, _, port = words[2].rpartition(":")
            if host and port.isdecimal():
                yield (backend, words[1]), Address(host, int(port))


def _without_secrets(text: str, container: engine.Container) -> str:
    in_files = engine.execute(container.id, "sh", "-c", "cat /run/secrets/* 2>/dev/null || true")
    given = [value for name, value in container.environ.items() if _SECRET.search(name)]
    for value in filter(None, [*given, *in_files.out.splitlines()]):
        text = text.replace(value, "***")
    return text
