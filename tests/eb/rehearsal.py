"""The rehearsal: a clone, its commits, and the `eb` client."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests import guide
from tests.chaos.load import Client, Load, repeated
from tests.eb.fake_beanstalk import AUTHORIZATION, Environment, FakeBeanstalk
from tests.stack.compose import STACK_NAME
from tests.team_values import required_values
from tests.tree import ROOT

EB = ROOT / ".venv-eb" / "bin" / "eb"
NAME = f"{STACK_NAME}-eb"
ENVIRONMENT = "mysite-rehearsal"
REGION = "us-east-1"
STATIC_BUCKET = "mysite-static"


class Rehearsal:
    """A user's clone, credentials and `eb` client."""

    def __init__(
        self, tree: Path, service: FakeBeanstalk, moto: str, database: dict[str, str]
    ) -> None:
        """Create the bucket of static files and the first commit."""
        self.tree = tree
        self.service = service
        self.home = tree.parent / "home"
        self.home.mkdir()
        self.moto = moto
        self.properties = {
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(50),
            "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
            # No proxy terminates TLS here.
            "DJANGO_SECURE_SSL_REDIRECT": "false",
            # The rehearsal needs no worker, so it has no Redis.
            "CELERY_BROKER_URL": "memory://",
            # Enough that a worker stays free while others run slow requests.
            "WEB_CONCURRENCY": "4",
            "AWS_STATIC_BUCKET_NAME": STATIC_BUCKET,
            "STATIC_URL": f"{moto}/{STATIC_BUCKET}/static/",
            "AWS_S3_ENDPOINT_URL": moto,
            "AWS_S3_ADDRESSING_STYLE": "path",
            "AWS_S3_REGION_NAME": REGION,
            # Instead of the role of the instances.
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            **required_values(),
            **database,
        }
        policy = guide.policy('"Principal": "*"', STATIC_BUCKET)
        for path, body in (("", ""), ("?policy", policy)):
            self.s3("PUT", f"{STATIC_BUCKET}{path}", body).raise_for_status()
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
        """Commit all changes, and return the abbreviated hash."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "--short", "HEAD")

    def eb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the client as a user does, against the fake AWS."""
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
        """Yield a list that gets the API calls of the block, without repeated ones."""
        start = len(self.service.calls)
        actions: list[str] = []
        yield actions
        for call in self.service.calls[start:]:
            if actions[-1:] != [call]:
                actions.append(call)

    @property
    def environment(self) -> Environment:
        """Return the environment."""
        return self.service.environments[ENVIRONMENT]

    @property
    def port(self) -> int:
        """Return the port of the balancer on this machine."""
        return self.environment.platform.balancer.port

    def get(self, path: str, **headers: str) -> requests.Response:
        """Send a GET request through the balancer."""
        return requests.get(
            f"http://127.0.0.1:{self.port}{path}",
            headers=headers,
            timeout=30,
            allow_redirects=False,
        )

    def s3(self, method: str, path: str, body: str = "") -> requests.Response:
        """Send a request to the fake S3."""
        headers = {"Authorization": AUTHORIZATION}
        return requests.request(
            method, f"{self.moto}/{path}", data=body, headers=headers, timeout=10
        )

    def releases(self) -> set[str]:
        """Return the releases that answer requests."""
        return {json.loads(self.get("/profile/").text)["release"] for _ in range(8)}

    def load(self, *more: Client) -> Load:
        """Return a load of pages and files, over kept and new connections."""
        page, file = repeated("GET", "/profile/"), repeated("GET", f"/static/{self.icon()}")
        status = repeated("GET", "/status/")
        return Load(
            self.port,
            [
                *(Client(page()) for _ in range(5)),
                *(Client(page(), keep_alive=False) for _ in range(2)),
                *(Client(status(), interval=0.4) for _ in range(2)),
                *(Client(file()) for _ in range(2)),
                *more,
            ],
        )

    def icon(self) -> str:
        """Return the name of a static file that every release has."""
        page = self.get("/status/").text
        return page.partition('rel="icon" href="')[2].partition('"')[0].partition("/static/")[2]
