"""Containers of the rehearsal."""

import subprocess
from contextlib import suppress
from dataclasses import dataclass

from tests.stack.compose import docker


@dataclass(frozen=True)
class Container:
    """A container, which need not exist."""

    name: str

    def run(self, *arguments: str) -> None:
        """Start it in the background; replace a container with this name."""
        remove(self.name)
        docker("run", "--detach", "--name", self.name, *arguments)

    def address(self) -> str:
        """Return its address in its network."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return docker("inspect", "--format", template, self.name).strip()

    def published_port(self, port: int) -> int:
        """Return the port on this machine that is published for a port of the container."""
        return int(docker("port", self.name, str(port)).splitlines()[0].rpartition(":")[2])

    def is_running(self) -> bool:
        """Return whether it runs."""
        return docker("inspect", "--format", "{{.State.Running}}", self.name).strip() == "true"

    def exit_code(self) -> int:
        """Return its exit code."""
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", self.name))

    def logs(self) -> str:
        """Return its standard output and standard error so far."""
        return subprocess.run(
            ["docker", "logs", self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        ).stdout

    def execute(self, *command: str) -> str:
        """Run a command in it, and return its output."""
        return docker("exec", self.name, *command)


def remove(name: str) -> None:
    """Remove a container if it exists."""
    with suppress(subprocess.CalledProcessError):
        docker("rm", "--force", "--volumes", name)
