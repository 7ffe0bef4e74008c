"""A stack that ./stackctl runs, in its own git repository."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

from tests.chaos.load import Client, Load, Request
from tests.stack.compose import STACK_NAME, Stack, docker, secret_environment

# Own images and containers, so that builds of other tests do not interfere.
NAME = f"{STACK_NAME}-ctl"
PROJECT = f"{NAME}-production"
SERVERS = ("server1", "server2")
QUICK = ("--health-seconds", "40", "--watch-seconds", "0.5")


class Site(Stack):
    """A stack that stackctl runs, in its own git repository."""

    ask_seconds = 300

    def __init__(self, tree: Path, name: str = NAME, **environment: str) -> None:
        """Prepare it; with DRAIN_SECONDS=0 only stackctl drains servers."""
        own = {"DJANGO_SECURE_SSL_REDIRECT": "false", "DRAIN_SECONDS": "0", "STACK_NAME": name}
        super().__init__(tree, "production", **{**secret_environment(), **own, **environment})
        self.name = name
        self.project = f"{name}-production"
        self.image = self.project

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a stackctl command in its own process group, as a terminal does."""
        return subprocess.Popen(
            [sys.executable, "-m", "tools.stackctl", *arguments],
            cwd=self.tree,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ctl(self, *arguments: str, code: int = 0) -> str:
        """Run a stackctl command, assert its exit code, and return its output."""
        return wait_for_exit(self.start(*arguments), code)

    def states(self) -> dict[str, str]:
        """Return the state of each server."""
        return {s["server"]: s["state"] for s in self.ask("status", code=ANY)["servers"]}

    def assert_both_run(self, release: str) -> None:
        """Assert that both servers are in service and run this release."""
        servers = self.ask("status")["servers"]
        assert {(s["state"], s["release"]) for s in servers} == {("ready", release)}
        self.wait_for_both()
        assert {self.profile()["release"] for _ in range(6)} == {release}

    def release(self) -> str:
        """Return the release that both servers run."""
        (release,) = {s["release"] for s in self.ask("status")["servers"]}
        return str(release)

    def containers(self) -> list[str]:
        """Return the containers of both servers."""
        return [self.container(server) for server in SERVERS]

    def commit(self) -> str:
        """Commit the tree, and return its release."""
        git(self.tree, "add", "--all")
        git(self.tree, "commit", "--quiet", "--allow-empty", "--message", "a release")
        return git(self.tree, "rev-parse", "--short=12", "HEAD")

    @contextmanager
    def edited(self, name: str, old: str, new: str) -> Iterator[str]:
        """Commit a change during the block, and yield its release."""
        path = self.tree / name
        original = path.read_text()
        assert old in original
        path.write_text(original.replace(old, new))
        try:
            yield self.commit()
        finally:
            path.write_text(original)
            self.commit()


class _Any(int):
    """An exit code that equals every other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


ANY = _Any()


def wait_for_exit(process: subprocess.Popen[str], code: int) -> str:
    """Wait for a command, assert its exit code and no traceback, and return its output."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output[-5000:]
    # The application may print a traceback; stackctl never does.
    assert "tools/stackctl/" not in output
    return output


def git(tree: Path, *arguments: str) -> str:
    """Run git with a test identity."""
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.com")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=tree, check=True, capture_output=True, text=True
    ).stdout.strip()


@contextmanager
def visitors(site: Site) -> Iterator[None]:
    """Send requests during the block, and assert that none failed."""
    pages = [repeat(Request("GET", "/profile/")) for _ in range(6)]
    clients = [Client(page, keep_alive=number % 2 == 0) for number, page in enumerate(pages)]
    with Load(site.http_port, clients) as load:
        load.warm_up()
        yield
    assert not load.failed, load.summary()


def count_rows(site: Site, *, add: bool = False) -> int:
    """Count the rows that tests have added; with `add`, add one first."""
    add_one = "Group.objects.create(name=f'drill-{uuid.uuid4()}')" if add else ""
    return int(
        site.python_in(
            "server1",
            "import django, uuid; django.setup()\n"
            f"from django.contrib.auth.models import Group\n{add_one}\n"
            "print(Group.objects.filter(name__startswith='drill-').count())",
        )
    )


@contextmanager
def removed_afterwards(site: Site) -> Iterator[None]:
    """Remove the stack before and after the block."""
    clear(site)
    try:
        yield
    finally:
        clear(site)


def clear(site: Site) -> None:
    """Remove the stack with its data and images."""
    site.down(volumes=True)
    for name in ("production", "base"):
        if images := docker("image", "ls", "--quiet", f"{site.name}-{name}").split():
            docker("image", "rm", "--force", *set(images))
