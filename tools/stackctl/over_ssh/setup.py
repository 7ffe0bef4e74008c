"""`stackctl setup`: runs setup.sh on a server, first to show what it would do."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.console import Console
from ..common.faults import ExitCode, StackctlError, UsageError
from . import connection
from .target import FOLDER, Target, parse

SCRIPT = Path(__file__).with_name("setup.sh")
USER = FOLDER.rpartition("/")[2]
PORTS = "80 443"
# As root, with the port that this connection uses: the firewall must leave it open.
_AS_ROOT = """
set -- "$@" --ssh-port "${SSH_CONNECTION##* }"
[ "$(id -u)" != 0 ] || exec sh -s -- "$@"
exec sudo -n sh -s -- "$@"
"""
# How setup.sh begins the lines about what has to be done.
_CHANGE = "+ "


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a setup."""

    # Who runs the stack.
    user: str = USER
    # What visitors may reach.
    ports: str = PORTS
    dry_run: bool = False
    yes: bool = False


def setup(console: Console, host: str, options: Options) -> dict[str, Any]:
    """Show what a server lacks, and do it once that is confirmed.

    Args:
        console: where progress is reported.
        host: USER@SERVER or USER@SERVER:/FOLDER; the user is root or may use sudo.
        options: the options.

    Raises:
        StackctlError: the server is not reached, or not one that can be prepared.
    """
    target = parse(host)
    _check(target, options)
    with connection.connected(target) as ssh:
        changes = _plan(console, ssh, options)
        result = {"server": target.login, "changes": changes, "code": int(ExitCode.OK)}
        if not changes:
            console.good(f"{target.login} has all that the stack needs")
        elif options.dry_run:
            console.say(f"{len(changes)} changes; --dry-run: nothing was changed")
        else:
            _confirm(target, options)
            _apply(ssh, options)
            console.good(f"{target.login} is ready")
            console.lines(_next_steps(target, options))
    return result


def _check(target: Target, options: Options) -> None:
    """Check what systemd, useradd and nft would refuse, or read as something else.

    Raises:
        UsageError: it is not valid.
    """
    for what, text, rule in (
        ("a folder", target.folder, r"[\w./-]+"),
        ("a user", options.user, r"[a-z_][a-z0-9_-]*"),
        ("ports", options.ports, r"\d{1,5}( \d{1,5})*"),
    ):
        if not re.fullmatch(rule, text):
            raise UsageError(f"{text!r} cannot be {what} here", f"It has to match {rule}")


def _plan(console: Console, ssh: connection.Connection, options: Options) -> list[str]:
    """Print the plan, and return its changes."""
    with console.step(f"checking {ssh.target.login}"):
        result = ssh.ask(_script(ssh, "plan", options), SCRIPT.read_text())
    if not result.ok:
        raise _failed(ssh.target, options, result.err)
    console.lines(result.out)
    lines = result.out.splitlines()
    return [line.removeprefix(_CHANGE) for line in lines if line.startswith(_CHANGE)]


def _confirm(target: Target, options: Options) -> None:
    """Ask whether to go on.

    Raises:
        StackctlError: no, or there is no terminal to ask in.
    """
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise StackctlError("the changes are not confirmed; nothing was changed", "Add --yes.")
    sys.stderr.write(f"Do this on {target.login}? The lines with + are changes. [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise StackctlError("not confirmed; nothing was changed")


def _apply(ssh: connection.Connection, options: Options) -> None:
    command = _script(ssh, "apply", options)
    with SCRIPT.open() as script:
        # Its output is progress; the result of --json is alone on standard output.
        done = subprocess.run(command, stdin=script, stdout=sys.stderr.fileno(), check=False)  # noqa: S603
    if done.returncode:
        raise StackctlError(
            f"the setup of {ssh.target.login} did not complete (above)",
            "Run it again: it continues where it ended.",
        )


def _script(ssh: connection.Connection, mode: str, options: Options) -> tuple[str, ...]:
    return ssh.command("sh", "-c", _AS_ROOT, "setup", *_arguments(ssh.target, mode, options))


def _arguments(target: Target, mode: str, options: Options) -> tuple[str, ...]:
    ports = ("--ports", options.ports)
    return (mode, "--user", options.user, "--folder", target.folder, *ports)


def _failed(target: Target, options: Options, words: str) -> StackctlError:
    lines = words.strip().splitlines() or ["no reason"]
    hint = "Correct that and try again."
    if "sudo" in lines[-1]:
        by_hand = shlex.join(_arguments(target, "apply", options))
        hint = (
            "sudo asks for a password there, or is missing. Log in as root, or run it by hand:\n"
            f"scp {SCRIPT} {target.login}:\n"
            f"ssh -t {target.login} sudo sh setup.sh {by_hand} --ssh-port PORT"
        )
    return StackctlError(f"{target.login}: {lines[-1].removeprefix('error: ')}", hint)


def _next_steps(target: Target, options: Options) -> str:
    there = Target(f"{options.user}@", target.host, target.folder).text
    here = f"./stackctl --host {there}"
    return (
        f"{here} env init --layer production\n"
        f"then fill in .env there: ssh {options.user}@{target.host.strip('[]')}, and set "
        f"HTTP_PORT=80, HTTPS_PORT=443\n{here} up"
    )
