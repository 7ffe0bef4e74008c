"""The options of the docker and compose commands that stackctl runs."""

from __future__ import annotations

import argparse
from typing import NoReturn


class RefusedError(Exception):
    """The docker client or the engine refuses a command."""


class Client(argparse.ArgumentParser):
    """The options of one command; it refuses others."""

    def error(self, message: str) -> NoReturn:
        """Refuse wrong usage, like the client."""
        raise RefusedError(message)


def client(flags: str, options: str = "", lists: str = "", *, rest: str = "*") -> Client:
    """Return the parser of a command: flags, options, and options that may repeat."""
    made = Client(allow_abbrev=False, add_help=False)
    for name in flags.split():
        made.add_argument(f"--{name}", action="store_true")
    for name in options.split():
        made.add_argument(f"--{name}")
    for name in lists.split():
        made.add_argument(f"--{name}", action="append", default=[])
    if rest == argparse.REMAINDER:
        made.add_argument("first")
    made.add_argument("rest", nargs=rest)
    return made


RUN = client(
    *("rm interactive quiet", "name user workdir entrypoint network log-driver", "volume label"),
    rest=argparse.REMAINDER,
)
CREATE = client("", "", "label", rest="?")
COMPOSE = client(
    "", "progress project-name project-directory file profile", rest=argparse.REMAINDER
)
UP = client(
    "detach no-build no-deps force-recreate no-recreate remove-orphans wait",
    "wait-timeout",
    "scale",
)
DOWN = client("remove-orphans volumes")
