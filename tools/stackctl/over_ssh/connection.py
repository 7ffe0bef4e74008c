"""One connection of the system's ssh client, which git and all commands share.

The client's own configuration counts: names, ports, keys, agent, jump hosts. Host keys are checked
as it says. GIT_SSH_COMMAND replaces the client, as it does for git.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import FrameType
from typing import Any

from ..common import process
from ..common.console import Console
from ..common.faults import ExitCode, StackctlError
from ..common.interrupt import handling
from .target import Target

SCRIPT = Path(__file__).with_name("on_server.py")
CONNECT_SECONDS = 20
# ssh ends a silent connection after three of them (ServerAliveCountMax).
ALIVE_SECONDS = 15
PUSH_SECONDS = 1800.0
# How long the shared connection stays when this program is killed.
PERSIST_SECONDS = 60
_FORWARDED = (signal.SIGINT, signal.SIGTERM)
# What to do about what ssh says, in the order of its steps.
_HINTS = {
    "could not resolve": "Is the name right? ~/.ssh/config may have another one for it.",
    "identification has changed": "Do not connect before you know why: compare the key with the "
    "server's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on its console). Of a new "
    "machine with an old name, `ssh-keygen -R SERVER` forgets the former key.",
    "host key verification failed": "Connect once by ssh, and compare the fingerprint that it "
    "shows with the server's own. In CI, put the server's key into known_hosts.",
    "permission denied": "Does the server accept your key? `ssh-add -l` lists those of the agent; "
    "~/.ssh/config can name a file (IdentityFile) and the user.",
    "connection refused": "Does sshd run there, at this port? ~/.ssh/config can name another port.",
    "timed out": "Is the server up, and does its firewall let this machine in?",
    "no route": "Is the server up, and this machine's network?",
}


class Connection:
    """A server, reached by ssh."""

    def __init__(self, target: Target, client: tuple[str, ...]) -> None:
        """Keep the client's command with its options."""
        self.target, self.client = target, client

    def script(self, order: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the command that runs on_server.py on the server."""
        return self.command("python3", "-c", SCRIPT.read_text(), json.dumps(order))

    def command(self, *words: str) -> tuple[str, ...]:
        """Return the command that runs another one on the server."""
        return (*self.client, self.target.login, shlex.join(words))

    def ask(self, command: tuple[str, ...], stdin: str | None = None) -> process.Result:
        """Run a command on the server in this terminal, where ssh may ask for a password.

        Raises:
            StackctlError: the server is not reached.
        """
        # Files: older clients leave their end of a pipe open in the connection that stays.
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            try:
                done = subprocess.run(  # noqa: S603 (no shell)
                    command, input=stdin or "", stdout=out, stderr=err, text=True, check=False
                )
            except OSError as error:
                raise StackctlError(
                    f"{command[0]} cannot be started: {error.strerror}",
                    "Install the OpenSSH client; on Debian: apt-get install openssh-client",
                ) from None
            out.seek(0)
            err.seek(0)
            result = process.Result(done.returncode, out.read(), err.read())
        if result.code == ExitCode.LOST:
            raise unreachable(self.target, result.err)
        return result

    def push(self, commit: str) -> None:
        """Push a commit into the clone, as no branch: its branches stay as they are.

        Raises:
            StackctlError: git cannot.
        """
        result = process.run(
            *("git", "push", "--quiet", "--force", self.target.repository),
            f"{commit}:refs/stackctl/pushed",
            seconds=PUSH_SECONDS,
            environ={"GIT_SSH_COMMAND": shlex.join(self.client), "GIT_SSH_VARIANT": "ssh"},
        )
        if not result.ok:
            hint = "Does `git fsck` complain here, is the disk full there?"
            if "shallow" in result.err:
                hint = "This clone is shallow: git fetch --unshallow (in CI: fetch-depth: 0)."
            raise StackctlError(
                f"git cannot push to {self.target.repository}: {result.err.strip()[-500:]}", hint
            )

    def interact(self, folder: str, *words: str) -> int:
        """Run a command in a folder of the server with this terminal, and return its exit code.

        It ends with the connection.
        """
        terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
        line = f"cd {shlex.quote(folder)} && exec {shlex.join(words)}"
        command = (*self.client, *terminal, self.target.login, line)
        return subprocess.run(command, check=False).returncode  # noqa: S603 (no shell here)

    def relay(self, command: tuple[str, ...], console: Console) -> int:
        """Run a command on the server with this program's outputs, and return its exit code.

        Ctrl-C and SIGTERM are passed on.
        """
        # Apart from the terminal's Ctrl-C, which would end ssh and not the command.
        ssh = subprocess.Popen(  # noqa: S603 (no shell)
            command, stdin=subprocess.PIPE, start_new_session=True
        )
        assert ssh.stdin is not None  # noqa: S101 (PIPE, above)
        channel = ssh.stdin.fileno()

        def forward(number: int, frame: FrameType | None) -> None:
            console.say(f"passing the interrupt on to {self.target.text}")
            with suppress(OSError):
                os.write(channel, b"interrupt\n")

        with handling(_FORWARDED, forward), ssh.stdin:
            return ssh.wait()


@contextmanager
def connected(target: Target) -> Iterator[Connection]:
    """Give the connection to a server, which the first command opens, and close it."""
    client = shlex.split(os.environ.get("GIT_SSH_COMMAND") or "ssh")
    # /tmp: the path of a socket may have 104 characters at most on macOS.
    with TemporaryDirectory(prefix="stackctl-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        options = {
            "ConnectTimeout": CONNECT_SECONDS,
            "ServerAliveInterval": ALIVE_SECONDS,
            "ControlMaster": "auto",
            "ControlPath": f"{folder}/ssh",
            "ControlPersist": PERSIST_SECONDS,
        }
        given = [f"-o{name}={value}" for name, value in options.items()]
        connection = Connection(target, (*client, *given))
        try:
            yield connection
        finally:
            with suppress(OSError):
                subprocess.run(  # noqa: S603 (no shell)
                    (*connection.client, "-O", "exit", target.login),
                    check=False,
                    capture_output=True,
                )


def unreachable(target: Target, words: str) -> StackctlError:
    """Return the error for what ssh said of a server."""
    lines = [line for line in words.splitlines() if line.strip(" @\r")]
    known = words.lower()
    hint = next((hint for part, hint in _HINTS.items() if part in known), "")
    return StackctlError(
        f"{target.login} is not reached over ssh: {lines[-1].strip() if lines else 'no reason'}",
        hint or f"Try it by hand: ssh {target.login}",
    )
