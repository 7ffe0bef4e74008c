"""The user of the rehearsal: a clone, its commits, and the `eb` client run in it."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.chaos.load import Client, Load, always
from tests.eb.fake_beanstalk import Environment, FakeBeanstalk
from tests.stack.compose import STACK_NAME
from tests.tree import ROOT

EB = ROOT / ".venv-eb" / "bin" / "eb"
NAME = f"{STACK_NAME}-eb"
ENVIRONMENT = "mysite-rehearsal"
REGION = "us-east-1"


class Rehearsal:
    """What a user has: a clone, credentials, the client."""

    def __init__(
        self, tree: Path, service: FakeBeanstalk, moto: str, database: dict[str, str]
    ) -> None:
        """Make the first commit."""
        self.tree = tree
        self.service = service
        self.home = tree.parent / "home"
        self.home.mkdir()
        self.moto = moto
        self.properties = {
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
            "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
            # Nobody ends TLS here.
            "DJANGO_SECURE_SSL_REDIRECT": "false",
            # Instead of a Redis: what is rehearsed needs no worker.
            "CELERY_BROKER_URL": "memory://",
            **database,
        }
        self.git("init", "--quiet", "--initial-branch", "main")
        self.commit("the first release")

    def git(self, *arguments: str) -> str:
        """Run git in the clone."""
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.tree,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def commit(self, message: str) -> str:
        """Commit all changes and return the commit's short name."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "--short", "HEAD")

    def eb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the client as a user does, with stand-ins for AWS."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.moto,
            "AWS_ENDPOINT_URL_ELASTIC_BEANSTALK": f"http://127.0.0.1:{self.service.port}",
        }
        return subprocess.run(
            [EB, *arguments],
            cwd=self.tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
            check=False,
        )

    @contextmanager
    def calls(self) -> Iterator[list[str]]:
        """Give the calls of a block, without repetitions, once it is over."""
        start = len(self.service.calls)
        found: list[str] = []
        yield found
        for call in self.service.calls[start:]:
            if found[-1:] != [call]:
                found.append(call)

    @property
    def environment(self) -> Environment:
        """Return the environment."""
        return self.service.environments[ENVIRONMENT]

    @property
    def port(self) -> int:
        """Return the balancer's port on this machine."""
        return self.environment.platform.balancer.port

    def get(self, path: str, **headers: str) -> requests.Response:
        """Ask the site, through the balancer."""
        return requests.get(
            f"http://127.0.0.1:{self.port}{path}",
            headers=headers,
            timeout=30,
            allow_redirects=False,
        )

    def releases(self) -> set[str]:
        """Return the releases that answer."""
        return {json.loads(self.get("/profile/").text)["release"] for _ in range(8)}

    def load(self) -> Load:
        """Return visitors for a `with` block: pages and files, old connections and new ones."""
        static = self.get("/").text.partition('href="/static/')[2].partition('"')[0]
        page, file = always("GET", "/profile/"), always("GET", f"/static/{static}")
        hit = always("GET", "/")
        return Load(
            self.port,
            [
                *(Client(page(), pause=0.1) for _ in range(5)),
                *(Client(page(), keep_alive=False, pause=0.1) for _ in range(2)),
                *(Client(hit(), pause=0.2) for _ in range(2)),
                *(Client(file(), pause=0.1) for _ in range(2)),
            ],
        )
