"""One command of stackctl on a server: check, push the commit, run it there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ..common import process
from ..common.console import Console
from ..common.faults import ExitCode, StackctlError, UsageError
from ..docker import lock
from . import connection
from .target import parse

# The command whose commit is this tree's. Others run what is checked out there.
DEPLOY = "deploy"
# Those that read from the terminal.
_INTERACTIVE = ("exec", "shell", "dbshell")
# Commands about this machine.
_LOCAL = ("setup",)


def run(
    console: Console,
    host: str,
    arguments: Sequence[str],
    *,
    before: Sequence[str] = (),
    diverged: bool = False,
) -> NoReturn:
    """Run a command on a server, and exit with its code.

    Args:
        console: where this end's part is reported.
        host: USER@SERVER or USER@SERVER:/FOLDER.
        arguments: the command and its arguments, which the server's own stackctl reads.
        before: options that precede the command.
        diverged: whether a deploy may leave out commits that are checked out there.

    Raises:
        StackctlError: refused, or the connection was lost.
    """
    target = parse(host)
    if arguments[0] in _LOCAL:
        raise UsageError(f"{arguments[0]} runs here: ./stackctl {arguments[0]} {target.login}")
    here = f"./stackctl --host {target.text}"
    order: dict[str, Any] = {
        "do": "check",
        "folder": target.folder,
        "subfolder": "",
        "command": arguments[0],
        "arguments": [*before, *arguments],
        "deploys": arguments[0] == DEPLOY,
        "commit": "",
        "diverged": diverged,
        "who": lock.who(),
        "here": here,
        "setup": f"Prepare the server: ./stackctl setup {target.login}",
    }
    with connection.connected(target) as ssh:
        order["subfolder"] = _git("rev-parse", "--show-prefix")
        head = _checked(ssh, order)
        if arguments[0] in _INTERACTIVE:
            if head == "empty":
                raise StackctlError(f"the clone of {target.text} is empty", f"Start it: {here} up")
            folder = f"{target.folder}/{order['subfolder']}"
            sys.exit(ssh.interact(folder, "./stackctl", *before, *arguments))
        if order["deploys"] or head == "empty":
            order["commit"] = _git("rev-parse", "HEAD^{commit}")
            _warn_of_changes(console, order["commit"])
            with console.step(f"pushing {order['commit'][:12]} to {target.repository}"):
                ssh.push(order["commit"])
        code = ssh.relay(ssh.script({**order, "do": "run"}), console)
    if code == ExitCode.LOST:
        raise LostError(
            f"the connection to {target.login} was lost; the command continues there",
            f"`{here} status` shows whether it still runs, `{here} releases` how a deploy ended.",
        )
    sys.exit(code)


class LostError(StackctlError):
    """The connection was lost while a command ran on the server."""

    code = ExitCode.LOST


def _checked(ssh: connection.Connection, order: dict[str, Any]) -> str:
    """Return the commit that is checked out on the server, once it has what the command needs."""
    result = ssh.ask(ssh.script(order))
    if result.ok:
        return result.out.strip()
    if result.code == 127:
        raise StackctlError(f"{ssh.target.login} has no python3", order["setup"])
    sys.stdout.write(result.out)
    sys.stderr.write(result.err)
    sys.exit(result.code)


def _warn_of_changes(console: Console, commit: str) -> None:
    changes = _git("status", "--porcelain").splitlines()
    if changes:
        names = ", ".join(line[3:] for line in changes[:3]) + (", ..." if changes[3:] else "")
        console.warn(
            f"{len(changes)} uncommitted changes stay here ({names}); "
            f"the server gets the commit {commit[:12]}"
        )


def _git(*arguments: str) -> str:
    result = process.run("git", *arguments)
    if not result.ok:
        raise StackctlError(
            f"git {arguments[0]} failed here: {result.err.strip()}",
            "A deploy sends a commit: run it in a clone that has one.",
        )
    return result.out.rstrip("\n")
