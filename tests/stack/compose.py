"""A stack of real containers, controlled with `docker compose`."""

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
from tests import documents
from tests.ports import free_port
from tests.team_values import required_values
from tests.tree import ROOT
from tests.waiting import eventually

# Prefix of the tests' images, containers and volumes. It differs from the developer's stack, from
# those of other clones, and from those of parallel test processes.
PROCESS = os.environ.get("PYTEST_XDIST_WORKER", "")
STACK_NAME = f"mysite-test-{hashlib.sha256(f'{ROOT}{PROCESS}'.encode()).hexdigest()[:8]}"
UP_SECONDS = 300
# Variables of every stack: `make test-stack WITH="DB_ENGINE=postgres"`.
WITH = dict(pair.split("=", 1) for pair in os.environ.get("STACK_WITH", "").split())
DB_ENGINE = WITH.get("DB_ENGINE", "mysql")
# Also the name of the supervisor group and of its processes.
APP_SERVER = WITH.get("APP_SERVER", "uwsgi")
mysql_only = pytest.mark.skipif(
    DB_ENGINE != "mysql", reason="MySQL only; tests/stack/test_postgres.py tests PostgreSQL"
)
uwsgi_only = pytest.mark.skipif(
    APP_SERVER != "uwsgi", reason="uWSGI only; gunicorn does not report what its workers do"
)


# Django, with a connection `c` of the migration user.
MIGRATION_LOGIN = """
import django; django.setup()
from django.db import connection as c
from ops.database.migration_login import wait_as_migration_user
wait_as_migration_user(c, 60, print)
"""
# Characters that careless quoting would break.
SPECIAL_CHARACTERS = "a\"b$c'd w#e\\f"


def secret_environment() -> dict[str, str]:
    """Return the variables that production requires, with special characters in the passwords."""
    return {
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
        "DJANGO_ALLOWED_HOSTS": "localhost,127.0.0.1",
        "DB_PASSWORD": SPECIAL_CHARACTERS + secrets.token_urlsafe(8),
        "REDIS_PASSWORD": SPECIAL_CHARACTERS + secrets.token_urlsafe(8),
        "STATS_PASSWORD": SPECIAL_CHARACTERS + secrets.token_urlsafe(8),
        **required_values(),
    }


def contains_secret(text: str, secret: str) -> bool:
    """Return whether a text contains a secret.

    Compares its random suffix, since JSON and URLs escape the special characters before it.
    """
    return secret[-len(secrets.token_urlsafe(8)) :] in text


class Stack:
    """A Compose project with its own name, ports, environment and volumes."""

    # Timeout of stackctl commands.
    ask_seconds = 120

    def __init__(self, tree: Path, layer: str, **environment: str) -> None:
        """Prepare the stack; `up` starts it."""
        self.tree = tree
        self.layer = layer
        self.project = f"{STACK_NAME}-{layer}"
        self.image = f"{STACK_NAME}-{layer}"
        self.http_port = free_port()
        self.stats_port = free_port()
        # Without the variables of the developer's environment.
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
        """Run `docker compose`; its output includes standard error by default."""
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
            output = f"{result.stdout}{result.stderr or ''}"
            raise AssertionError(f"docker compose {' '.join(arguments)}:\n{output[-5000:]}")
        return result

    def up(self, *services: str) -> None:
        """Start the services, and wait until every one is healthy."""
        result = self.compose("up", "--detach", "--wait", "--build", *services, check=False)
        if result.returncode:
            logs = self.compose("logs", "--tail", "30", check=False).stdout
            raise AssertionError(f"{result.stdout[-3000:]}\n{logs[-8000:]}")

    def running(self) -> Iterator["Stack"]:
        """Start this stack with empty volumes, yield it, and remove it at the end."""
        self.down(volumes=True)
        try:
            self.up()
            yield self
        finally:
            self.down(volumes=True)
            self.remove_replaced_images()

    def stop(self, *services: str, environment: Mapping[str, str] | None = None) -> None:
        """Stop services, and assert that each has ended by itself, within its time."""
        self.compose("stop", *services, environment=environment)
        codes = {service: self.inspect(service, "{{.State.ExitCode}}") for service in services}
        # 143: the init process reports the SIGTERM that it forwarded. Killed are 137.
        assert set(codes.values()) <= {"0", "143"}, codes

    def down(self, *, volumes: bool = False) -> None:
        """Stop and remove the containers; with `volumes`, kill them and remove their data."""
        options = ["--volumes", "--timeout", "0"] if volumes else []
        self.compose("down", "--remove-orphans", *options)

    def remove_replaced_images(self) -> None:
        """Remove untagged images of this stack, which a later build has replaced."""
        label = f"label=com.docker.compose.project={self.project}"
        images = docker("image", "ls", "--quiet", "--filter", "dangling=true", "--filter", label)
        for image in set(images.split()):
            # Fails for a parent of another image, which stays.
            with suppress(subprocess.CalledProcessError):
                docker("image", "rm", image)

    def output(self, *arguments: str, check: bool = True) -> str:
        """Run `docker compose`, and return only its standard output, without warnings."""
        return self.compose(*arguments, check=check, stderr=subprocess.PIPE).stdout

    def run_documented(
        self,
        command: str,
        changes: Mapping[str, str] | None = None,
        *,
        code: int = 0,
        typed: str = "",
    ) -> str:
        """Run a command of the docs, and return its output: tests/documents.py."""
        return documents.run_documented(
            self.tree, self.environment, command, changes, code=code, typed=typed
        )

    def ask(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run a stackctl command with --json, and return its parsed output."""
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
        parsed: dict[str, Any] = json.loads(result.stdout)
        return parsed

    def run_in(self, service: str, *command: str, check: bool = True) -> str:
        """Run a command in the container of a service, and return its standard output."""
        return self.output("exec", "-T", service, *command, check=check)

    def python_in(self, service: str, code: str) -> str:
        """Run Python code in the container of a service, and return its output."""
        return self.run_in(service, "python", "-c", code).strip()

    def migrating(self, code: str) -> str:
        """Run Python code as the database user that migrates, who may change tables."""
        run = ("run", "--rm", "--no-deps", "-T", "migrate", "python", "-c", MIGRATION_LOGIN + code)
        return self.compose(*run, stderr=subprocess.DEVNULL).stdout.strip()

    def logs(self, service: str) -> str:
        """Return the log of a service."""
        return self.compose("logs", "--no-log-prefix", service).stdout

    def container(self, service: str) -> str:
        """Return the id of the container of a service, running or not."""
        return self.output("ps", "--all", "--quiet", service).strip()

    def inspect(self, service: str, template: str) -> str:
        """Return a fact about the container of a service, by a Go template."""
        return docker("inspect", "--format", template, self.container(service))

    def url(self, path: str = "/") -> str:
        """Return a URL of the site, through HAProxy."""
        return f"http://127.0.0.1:{self.http_port}{path}"

    def get(self, path: str, **options: object) -> requests.Response:
        """Send a GET request through HAProxy."""
        return requests.get(self.url(path), timeout=30, **options)  # type: ignore[arg-type]

    def post(self, path: str, **options: object) -> requests.Response:
        """Send a POST request through HAProxy."""
        return requests.post(self.url(path), timeout=30, **options)  # type: ignore[arg-type]

    def in_service(self) -> set[str]:
        """Return the servers that answer through HAProxy, from a few requests."""
        return {self.profile()["server"] for _ in range(6)}

    def statistics(self) -> list[dict[str, str]]:
        """Return the rows of the stats page of HAProxy."""
        answer = requests.get(
            f"http://127.0.0.1:{self.stats_port}/stats;csv",
            auth=("admin", self.environment["STATS_PASSWORD"]),
            timeout=10,
        )
        answer.raise_for_status()
        return list(csv.DictReader(io.StringIO(answer.text.lstrip("# "))))

    def taken_out(self) -> dict[tuple[str, str], int]:
        """Return how often HAProxy has marked each server as down."""
        return {
            (row["pxname"], row["svname"]): int(row["chkdown"])
            for row in self.statistics()
            if row["chkdown"] and row["svname"] != "BACKEND"
        }

    def profile(self) -> dict[str, Any]:
        """Return the JSON of /profile/; raise an OSError for an error status."""
        answer = self.get("/profile/")
        answer.raise_for_status()
        return answer.json()

    def wait_for_both(self) -> None:
        """Wait until both servers answer through HAProxy."""
        eventually(
            lambda: self.in_service() == {"set1", "set2"}, seconds=60, what="both servers answer"
        )


def docker(*arguments: str) -> str:
    """Run `docker`, and return its output."""
    return subprocess.run(
        ["docker", *arguments], check=True, capture_output=True, text=True, timeout=600
    ).stdout.strip()
