"""One running stack of real containers, driven through `docker compose` as a user drives it."""

import csv
import hashlib
import io
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from ops.environment.contract import VARIABLES
from tests.ports import free_port
from tests.team_values import required_values
from tests.tree import ROOT
from tests.waiting import eventually

# Images, containers and volumes of the tests are found, and cleared away, by this name. It is
# neither the developer's own stack nor that of another clone or of a parallel test process.
PROCESS = os.environ.get("PYTEST_XDIST_WORKER", "")
STACK_NAME = f"mysite-test-{hashlib.sha256(f'{ROOT}{PROCESS}'.encode()).hexdigest()[:8]}"
UP_SECONDS = 300
# Every stack's, besides its test's own variables: `make test-stack WITH="DB_ENGINE=postgres"`.
WITH = dict(pair.split("=", 1) for pair in os.environ.get("STACK_WITH", "").split())
DB_ENGINE = WITH.get("DB_ENGINE", "mysql")
# As supervisor calls its group, and as its processes are called.
APP_SERVER = WITH.get("APP_SERVER", "uwsgi")
mysql_only = pytest.mark.skipif(
    DB_ENGINE != "mysql", reason="MySQL's own; PostgreSQL's is in tests/stack/test_postgres.py"
)
uwsgi_only = pytest.mark.skipif(
    APP_SERVER != "uwsgi", reason="uWSGI's own; gunicorn does not tell what its workers do"
)


# Characters that careless quoting would break.
SPECIAL_CHARACTERS = "a\"b$c'd w#e\\f"


def secret_environment() -> dict[str, str]:
    """Return what production requires, the passwords with characters of that kind."""
    return {
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
        "DJANGO_ALLOWED_HOSTS": "localhost,127.0.0.1",
        "DB_PASSWORD": SPECIAL_CHARACTERS + secrets.token_urlsafe(8),
        "REDIS_PASSWORD": SPECIAL_CHARACTERS + secrets.token_urlsafe(8),
        "STATS_PASSWORD": SPECIAL_CHARACTERS + secrets.token_urlsafe(8),
        **required_values(),
    }


def contains_secret(text: str, secret: str) -> bool:
    """Return whether a text has a secret in it.

    Its random end is enough: what is awkward before that is another text in JSON or in a URL.
    """
    return secret[-len(secrets.token_urlsafe(8)) :] in text


class Stack:
    """A compose project of its own: name, ports, environment, volumes."""

    # How long a command of stackctl may take.
    ask_seconds = 120

    def __init__(self, tree: Path, layer: str, **environment: str) -> None:
        """Describe the stack; nothing is started yet."""
        self.tree = tree
        self.layer = layer
        self.project = f"{STACK_NAME}-{layer}"
        self.image = f"{STACK_NAME}-{layer}"
        self.http_port = free_port()
        self.stats_port = free_port()
        # Nothing of the developer's own environment changes what is tested.
        inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self.environment = {
            **inherited,
            "STACK_NAME": STACK_NAME,
            "LAYER": layer,
            "HTTP_ADDRESS": "127.0.0.1",
            "HTTP_PORT": str(self.http_port),
            "STATS_PORT": str(self.stats_port),
            **WITH,
            **environment,
        }

    def compose(
        self,
        *arguments: str,
        check: bool = True,
        timeout: float = UP_SECONDS,
        environment: Mapping[str, str] | None = None,
        stderr: int = subprocess.STDOUT,
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` and return what it printed, standard error included by default."""
        result = subprocess.run(
            ["docker", "compose", "--project-name", self.project, *arguments],
            cwd=self.tree,
            env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and result.returncode:
            said = f"{result.stdout}{result.stderr or ''}"
            raise AssertionError(f"docker compose {' '.join(arguments)}:\n{said[-5000:]}")
        return result

    def up(self, *services: str) -> None:
        """Start and wait until every service is healthy."""
        result = self.compose("up", "--detach", "--wait", "--build", *services, check=False)
        if result.returncode:
            logs = self.compose("logs", "--tail", "30", check=False).stdout
            raise AssertionError(f"{result.stdout[-3000:]}\n{logs[-8000:]}")

    def running(self) -> Iterator["Stack"]:
        """Yield this stack, started on empty volumes; clear everything away at the end."""
        self.down(volumes=True)
        try:
            self.up()
            yield self
        finally:
            self.down(volumes=True)
            self.remove_replaced_images()

    def down(self, *, volumes: bool = False) -> None:
        """Stop and remove the containers; with their data if told, and then without ceremony."""
        at_once = ["--volumes", "--timeout", "0"] if volumes else []
        self.compose("down", "--remove-orphans", *at_once)

    def remove_replaced_images(self) -> None:
        """Remove this stack's images whose name a later build has taken: nothing else would."""
        label = f"label=com.docker.compose.project={self.project}"
        found = docker("image", "ls", "--quiet", "--filter", "dangling=true", "--filter", label)
        for image in set(found.split()):
            # One that another run's image is made of stays.
            with suppress(subprocess.CalledProcessError):
                docker("image", "rm", image)

    def output(self, *arguments: str, check: bool = True) -> str:
        """Run `docker compose` and return its standard output alone, which no warning breaks."""
        return self.compose(*arguments, check=check, stderr=subprocess.PIPE).stdout

    def ask(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run a command of stackctl for scripts and return its JSON, the whole standard output."""
        result = subprocess.run(
            [sys.executable, "-m", "tools.stackctl", *arguments, "--json"],
            cwd=self.tree,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=self.ask_seconds,
            check=False,
        )
        assert result.returncode == code, result.stderr[-5000:]
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def run_in(self, service: str, *command: str, check: bool = True) -> str:
        """Run a command in a service's container and return its standard output alone."""
        return self.output("exec", "-T", service, *command, check=check)

    def python_in(self, service: str, code: str) -> str:
        """Run Python code in a service's container and return what it printed."""
        return self.run_in(service, "python", "-c", code).strip()

    def logs(self, service: str) -> str:
        """Return a service's log so far."""
        return self.compose("logs", "--no-log-prefix", service).stdout

    def container(self, service: str) -> str:
        """Return the id of a service's container, running or not."""
        return self.output("ps", "--all", "--quiet", service).strip()

    def inspect(self, service: str, template: str) -> str:
        """Return one fact of a service's container, by a Go template."""
        return docker("inspect", "--format", template, self.container(service))

    def url(self, path: str = "/") -> str:
        """Return an address of the site, through HAProxy."""
        return f"http://127.0.0.1:{self.http_port}{path}"

    def get(self, path: str, **options: object) -> requests.Response:
        """Ask the site through HAProxy."""
        return requests.get(self.url(path), timeout=30, **options)  # type: ignore[arg-type]

    def post(self, path: str, **options: object) -> requests.Response:
        """Post to the site through HAProxy."""
        return requests.post(self.url(path), timeout=30, **options)  # type: ignore[arg-type]

    def in_service(self) -> set[str]:
        """Return the servers that answer through HAProxy, from a few requests."""
        return {self.profile()["server"] for _ in range(6)}

    def statistics(self) -> list[dict[str, str]]:
        """Return the rows of HAProxy's stats page."""
        answer = requests.get(
            f"http://127.0.0.1:{self.stats_port}/stats;csv",
            auth=("admin", self.environment["STATS_PASSWORD"]),
            timeout=10,
        )
        answer.raise_for_status()
        return list(csv.DictReader(io.StringIO(answer.text.lstrip("# "))))

    def taken_out(self) -> dict[tuple[str, str], int]:
        """Return how often HAProxy's checks have taken out each server, since HAProxy started."""
        return {
            (row["pxname"], row["svname"]): int(row["chkdown"])
            for row in self.statistics()
            if row["chkdown"] and row["svname"] != "BACKEND"
        }

    def profile(self) -> dict[str, Any]:
        """Return what /profile/ says; an error answer is an OSError."""
        answer = self.get("/profile/")
        answer.raise_for_status()
        return answer.json()

    def wait_for_both(self) -> None:
        """Return once both servers answer through HAProxy."""
        eventually(
            lambda: self.in_service() == {"set1", "set2"}, seconds=60, what="both servers answer"
        )


def docker(*arguments: str) -> str:
    """Run `docker` and return what it printed."""
    return subprocess.run(
        ["docker", *arguments], check=True, capture_output=True, text=True, timeout=600
    ).stdout.strip()
