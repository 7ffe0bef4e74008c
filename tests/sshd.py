"""A real sshd on a port of 127.0.0.1, with keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port
from tests.waiting import eventually

PROGRAM = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
HELP = "sshd is missing. On Debian: apt-get install openssh-server"


@dataclass
class Sshd:
    """The server, and how a client reaches it as the host `server`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def client(self) -> str:
        """Return the client's command."""
        return f"ssh -F {self.folder}/client"

    def sessions(self) -> list[int]:
        """Return the processes of its connections."""
        listing = subprocess.run(
            ["pgrep", "--parent", str(self.process.pid)],
            check=False,
            capture_output=True,
            text=True,
        )
        return [int(line) for line in listing.stdout.split()]

    def cut_connections(self) -> None:
        """End all connections, as a lost network does; what they started continues."""
        for process in self.sessions():
            os.kill(process, signal.SIGKILL)

    def forget_key(self) -> None:
        """Have the client not know the server's key."""
        (self.folder / "known_hosts").write_text("")

    def refuse_key(self) -> None:
        """Have the server not know the client's key."""
        (self.folder / "authorized_keys").write_text("")


def make_keys(folder: Path) -> None:
    """Make a key for each end, and have the server accept the client's."""
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    shutil.copy(folder / "user.pub", folder / "authorized_keys")


def introduce(folder: Path, port: int) -> None:
    """Have the client know the server's key."""
    host_key = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")


def configure_server(folder: Path, port: int, path: str) -> None:
    """Write the server's configuration, with the PATH of its commands.

    Their HOME has no .bashrc, which may take longer than a test.
    """
    (folder / "server").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nUsePAM no\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\n"
        f"SetEnv PATH={path} HOME={folder}\n"
    )


def configure_client(folder: Path, port: int, user: str) -> None:
    """Write the client's configuration.

    The default key exchange takes six times the processor time of this one.
    """
    (folder / "client").write_text(
        f"Host server\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n"
        f"  IdentityFile {folder}/user\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        "  BatchMode yes\n  KexAlgorithms curve25519-sha256\n"
    )


def listens(port: int) -> bool:
    """Return True, or raise the error of the connection."""
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True


@contextmanager
def running(folder: Path, path: str) -> Iterator[Sshd]:
    """Run a server whose commands have this PATH."""
    assert PROGRAM, HELP
    port = free_port()
    make_keys(folder)
    introduce(folder, port)
    configure_server(folder, port, path)
    configure_client(folder, port, getpass.getuser())
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = (folder / "log").open("wb")
    command = [PROGRAM, "-D", "-e", "-f", f"{folder}/server"]
    with log, subprocess.Popen(command, stderr=log) as process:
        try:
            eventually(lambda: listens(port), seconds=20, what="sshd listens")
            yield Sshd(folder, port, process)
        finally:
            process.terminate()
