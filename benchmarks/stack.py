"""The measured containers: a separate Compose project, created and removed by each run."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from benchmarks.engine import EngineError, docker
from benchmarks.targets import SERVICES

ROOT = Path(__file__).resolve().parent.parent
COMPOSE_FILES = (ROOT / "docker-compose.yaml", ROOT / "benchmarks" / "docker-compose.yaml")
IMAGES = ("base", "production", "peers", "load")
# Services that build the images; the other services use them.
BUILT_SERVICES = ("env-check", "gunicorn", "load")
# Variables of the Docker client. Others are not passed on, so that they cannot change figures.
PASSED_ON = ("DOCKER_", "BUILDX_", "BUILDKIT_", "SSH_", "SSL_CERT_", "XDG_")
PASSED_ON_NAMES = {
    *("PATH", "HOME", "USER", "TMPDIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
}


def compose_environment(project: str) -> dict[str, str]:
    """Return the environment of Compose: production settings with random secrets."""
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON_NAMES or name.startswith(PASSED_ON)
    }
    return passed_on | {
        "COMPOSE_PROJECT_NAME": project,
        "COMPOSE_FILE": os.pathsep.join(str(path) for path in COMPOSE_FILES),
        "COMPOSE_PATH_SEPARATOR": os.pathsep,
        # Without the developer's .env.
        "COMPOSE_ENV_FILES": os.devnull,
        "LAYER": "production",
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
        "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
        # The load generator uses plain HTTP.
        "DJANGO_SECURE_SSL_REDIRECT": "false",
        "DB_PASSWORD": secrets.token_urlsafe(24),
        "REDIS_PASSWORD": secrets.token_urlsafe(24),
        "STATS_PASSWORD": secrets.token_urlsafe(24),
    }


class Stack:
    """The running containers, by service."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.load_container = f"{project}-load-run"
        self._env = compose_environment(project)
        self._ids: dict[str, str] = {}

    def image(self, name: str) -> str:
        """Return the full name of one of IMAGES."""
        return f"{self.project}-{name}"

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        return self._ids[service]

    def build(self) -> None:
        """Build the images from this checkout."""
        self._compose("build", "--quiet", *BUILT_SERVICES, timeout=900)

    def start(self) -> Self:
        """Start every measured container."""
        self._compose("up", "--detach", "--no-build", "--no-deps", *SERVICES, timeout=120)
        for service in SERVICES:
            self._ids[service] = self._compose("ps", "--all", "--quiet", service).strip()
        return self

    def last_lines(self, service: str) -> str:
        """Return the last lines of the log of a service."""
        return self._compose("logs", "--no-color", "--tail", "20", service)

    def remove(self) -> None:
        """Remove containers, networks, volumes and images of this project."""
        with suppress(EngineError):  # removed already, unless the run was interrupted
            docker(["rm", "--force", self.load_container])
        self._compose("down", "--volumes", "--remove-orphans", "--timeout", "0", timeout=120)
        for name in IMAGES:
            with suppress(EngineError):
                docker(["image", "rm", self.image(name)])

    def _compose(self, *arguments: str, timeout: float = 60) -> str:
        return docker(
            ["compose", "--progress", "quiet", *arguments], env=self._env, timeout=timeout
        )


@contextmanager
def running_stack() -> Iterator[Stack]:
    """Build and start the containers, and always remove them afterwards."""
    stack = Stack(f"mysite-bench-{secrets.token_hex(3)}")
    try:
        stack.build()
        yield stack.start()
    finally:
        stack.remove()
