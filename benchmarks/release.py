"""The whole production stack, including database and worker, run by stackctl."""

import json
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from benchmarks.engine import EngineError, docker
from benchmarks.stack import ROOT, compose_environment

COMMAND_SECONDS = 600


class ReleaseStack:
    """A separate production stack, run by stackctl."""

    def __init__(self) -> None:
        self.project = f"mysite-bench-{secrets.token_hex(3)}"
        self.port = _free_port()
        self._env = compose_environment(self.project) | {
            "COMPOSE_FILE": str(ROOT / "docker-compose.yaml"),
            "STACK_NAME": self.project,
            "HTTP_ADDRESS": "127.0.0.1",
            "HTTP_PORT": str(self.port),
            "STATS_PORT": str(_free_port()),
            "SERVER_COUNT": "2",
            # Without the developer's .env, also in the checks of stackctl.
            "DJANGO_READ_DOTENV": "false",
        }

    def stackctl(self, *arguments: str) -> str:
        """Run a stackctl command, and return its output.

        Raises:
            EngineError: the command failed; the message has the end of its output.

        """
        done = subprocess.run(
            [sys.executable, "-m", "tools.stackctl", *arguments],
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            raise EngineError(f"stackctl {arguments[0]} failed:\n{done.stdout[-4000:]}")
        return done.stdout

    def last_recorded_seconds(self) -> float:
        """Return the seconds of the last deploy without the build, from the record of stackctl."""
        record = json.loads(self.stackctl("releases", "--json"))
        return float(record["releases"][0]["seconds"])

    @property
    def servers(self) -> list[str]:
        """Return the services that answer requests."""
        return [f"server{number}" for number in range(1, int(self._env["SERVER_COUNT"]) + 1)]

    def scale(self, servers: int) -> None:
        """Change the number of servers, and have HAProxy send requests to each."""
        self._env["SERVER_COUNT"] = str(servers)
        self.stackctl("up")
        self.compose("up", "--detach", "--wait", "--no-deps", "haproxy")

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        return self.compose("ps", "--quiet", service).strip()

    def python(self, code: str, *arguments: str) -> str:
        """Run Python code in server1, and return its output."""
        return self.compose("exec", "-T", "server1", "python", "-c", code, *arguments)

    def in_migrate(self, *command: str) -> str:
        """Run a command in a container of `migrate`, and return its output."""
        return self.compose("run", "--rm", "--no-deps", "-T", "migrate", *command)

    def compose(self, *arguments: str) -> str:
        """Run a Compose command on this project, and return its output."""
        command = ["compose", "--progress", "quiet", *arguments]
        return docker(command, env=self._env, timeout=COMMAND_SECONDS)

    def remove(self) -> None:
        """Remove containers, networks, volumes, images and the record of this project."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "0")
        for image in set(docker(["image", "ls", "--quiet", f"{self.project}-*"]).split()):
            with suppress(EngineError):
                docker(["image", "rm", "--force", image])
        shutil.rmtree(ROOT / "var" / "stackctl" / self.project, ignore_errors=True)


@contextmanager
def running_release() -> Iterator[ReleaseStack]:
    """Build and start the stack, and always remove it afterwards."""
    stack = ReleaseStack()
    try:
        stack.stackctl("up")
        yield stack
    finally:
        stack.remove()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
