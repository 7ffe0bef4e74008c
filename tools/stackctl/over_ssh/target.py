"""A server and the clone's folder on it, as a person names them: USER@SERVER:/FOLDER."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..common.faults import UsageError

FOLDER = "/srv/mysite"
# What ssh takes for a name, and no option of it: the address in brackets may be of IPv6.
LOGIN = re.compile(r"(?P<user>[\w.+-]+@)?(?P<host>[\w][\w.-]*|\[[0-9a-fA-F:.]+(%\w+)?\])")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a clone of the project is."""

    user: str
    host: str
    folder: str = FOLDER

    @property
    def login(self) -> str:
        """Return what ssh connects to."""
        return f"{self.user}{self.host.strip('[]')}"

    @property
    def text(self) -> str:
        """Return it as a person writes it."""
        folder = "" if self.folder == FOLDER else f":{self.folder}"
        return f"{self.user}{self.host}{folder}"

    @property
    def repository(self) -> str:
        """Return what git pushes to."""
        return f"{self.user}{self.host}:{self.folder}"


def parse(text: str) -> Target:
    """Return the target of a command line.

    Raises:
        UsageError: it is none.
    """
    login, folder = text, FOLDER
    if match := re.match(r"((?:[^\[:]*\[[^]]*\])|[^\[:]*):(.*)", text, re.DOTALL):
        login, folder = match[1], match[2]
    match = LOGIN.fullmatch(login)
    if not match or login.startswith("-"):
        raise UsageError(f"{text!r} names no server", "USER@SERVER, or USER@SERVER:/ITS/FOLDER")
    if not folder.startswith("/"):
        hint = f"A folder begins with /: {login}:{FOLDER}"
        if folder.isdecimal():
            hint = f"A port belongs in ~/.ssh/config, below `Host {match['host']}`: Port {folder}"
        raise UsageError(f"{text!r} names no folder of the server", hint)
    return Target(match["user"] or "", match["host"], folder.rstrip("/") or "/")
