"""Containers of the rehearsal, by their names."""

import subprocess
from contextlib import suppress
from dataclasses import dataclass

from tests.stack.compose import docker


@dataclass(frozen=True)
class Container:
    """A container that may or may not be there."""

    name: str

    def run(self, *arguments: str) -> None:
        """Start it in the background; one of that name goes first."""
        remove(self.name)
        docker("run", "--detach", "--name", self.name, *arguments)

    def address(self) -> str:
        """Return its address in its network."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return docker("inspect", "--format", template, self.name).strip()

    def published(self, port: int) -> int:
        """Return the port of this machine that leads to one of its own."""
        return int(docker("port", self.name, str(port)).splitlines()[0].rpartition(":")[2])

    def running(self) -> bool:
        """Return whether it runs."""
        return docker("inspect", "--format", "{{.State.Running}}", self.name).strip() == "true"

    def exit_code(self) -> int:
        """Return how it has ended."""
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", self.name))

    def logs(self) -> str:
        """Return what it has said so far, on both of its outputs."""
        return subprocess.run(
            ["docker", "logs", self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        ).stdout

    def execute(self, *command: str) -> str:
        """Run a command in it and return what it printed."""
        return docker("exec", self.name, *command)


def remove(name: str) -> None:
    """Remove a container, if there is one."""
    with suppress(subprocess.CalledProcessError):
        docker("rm", "--force", "--volumes", name)
