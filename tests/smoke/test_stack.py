"""A smoke test of the production stack: probes, static files, sign-in, a deploy under load."""

import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ops.environment.contract import VARIABLES
from tests.ports import free_port
from tests.team_values import required_values
from tests.tree import ROOT, copy_tree

USER = {"username": "smoke", "password": "a-secret-of-the-smoke-test"}
NO_ENGINE = "no Docker Engine answers (`docker info`). Start it, then run: make test"


@dataclass(frozen=True)
class Stack:
    """The stack of a copy of this tree, with its own name, ports and secrets."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, check: bool = True) -> None:
        """Run a command in the copy; show its output if it fails."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        assert not check or done.returncode == 0, done.stdout[-8000:]

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection to HAProxy."""
        return http.client.HTTPConnection(
            "127.0.0.1", int(self.environment["HTTP_PORT"]), timeout=40
        )

    def request(self, path: str, form: dict[str, str] | None = None, **headers: str) -> "Response":
        """Send a GET request, or a POST with a form, and return the response."""
        connection = self.connect()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(form) if form else None
        connection.request("POST" if form else "GET", path, body, headers)
        answer = connection.getresponse()
        return Response(answer.status, answer.headers, answer.read())


@dataclass(frozen=True)
class Response:
    """A response of the site."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start the production stack from a copy of this tree, so that edits do not affect it."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip(NO_ENGINE)
    folder = tmp_path_factory.mktemp("smoke")
    # The users of the containers read the mounted files.
    for path in (folder, *folder.parents[:1]):
        path.chmod(0o755)
    folder = copy_tree(folder)
    (folder / ".venv").symlink_to(sys.prefix)
    name = f"smoke-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
    stack = Stack(
        folder,
        {
            # Without the variables of the developer's environment.
            **{key: value for key, value in os.environ.items() if key not in VARIABLES},
            **required_values(),
            **{f"DJANGO_SUPERUSER_{key.upper()}": value for key, value in USER.items()},
            "DJANGO_SUPERUSER_EMAIL": "smoke@example.com",
            "STACK_NAME": name,
            "HTTP_ADDRESS": "127.0.0.1",
            "HTTP_PORT": str(free_port()),
            "STATS_PORT": str(free_port()),
            "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
            "DJANGO_SECURE_SSL_REDIRECT": "false",
            "THROTTLE_ANON": "100000/minute",
            "DRAIN_SECONDS": "1",
        },
    )
    down = ("docker", "compose", "down", "--volumes", "--remove-orphans", "--timeout", "0")
    stack.run(sys.executable, "manage.py", "env", "init", "--layer", "production")
    stack.run(*down)
    try:
        stack.run(sys.executable, "-m", "tools.stackctl", "up")
        yield stack
    finally:
        stack.run(*down)
        images = subprocess.run(
            ["docker", "image", "ls", "--quiet", "--filter", f"reference={name}-*"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        stack.run("docker", "image", "rm", "--force", *images, check=False)


def test_stack_is_healthy_and_both_servers_answer(stack: Stack) -> None:
    health = stack.request("/healthz")

    assert (health.status, json.loads(health.body)["status"]) == (200, "up")
    servers = {json.loads(stack.request("/profile/").body)["server"] for _ in range(6)}
    assert servers == {"set1", "set2"}


def test_static_files_have_hashed_names_and_are_compressed(stack: Stack) -> None:
    page = stack.request("/status/", Accept="text/html").body.decode()
    style = re.findall(r'href="(/static/ops/[^"]+\.[0-9a-f]{12}\.css)"', page)[0]

    answer = stack.request(style, Accept_Encoding="br")

    assert (answer.status, answer.headers["Content-Encoding"]) == (200, "br")
    assert "immutable" in answer.headers["Cache-Control"]


# remove_accounts: begin
def test_token_opens_the_api_and_wrong_password_is_refused(stack: Stack) -> None:
    token = json.loads(stack.request("/api/token/", USER).body)["token"]

    assert stack.request("/api/schema/").status == 401
    assert stack.request("/api/schema/", Authorization=f"Token {token}").status == 200
    assert stack.request("/api/token/", {**USER, "password": "wrong"}).status == 400


# remove_accounts: end
def test_deploy_fails_no_request(stack: Stack) -> None:
    over = threading.Event()
    statuses: list[int | str] = []

    def visit() -> None:
        connection = stack.connect()
        while not over.wait(0.05):
            try:
                connection.request("GET", "/profile/")
                answer = connection.getresponse()
                answer.read()
                statuses.append(answer.status)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                statuses.append(repr(error))

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        stack.run(sys.executable, "-m", "tools.stackctl", "deploy", "--release", "second")
    finally:
        over.set()
        for visitor in visitors:
            visitor.join()

    assert len(statuses) > 100
    assert [status for status in statuses if status != 200] == []
    releases = {json.loads(stack.request("/profile/").body)["release"] for _ in range(6)}
    assert releases == {"second"}
