"""An existing project on the production stack, set up as docs/adopt.md describes."""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

from tests.adopt.store import ANSWERS
from tests.chaos.load import Client, Load, Request
from tests.stack.compose import STACK_NAME
from tests.stack.stackctl.site import QUICK, Site, git, removed_afterwards
from tests.tree import ROOT

USER, PASSWORD = "ann", secrets.token_urlsafe(12)


def generate_project(workspace: Path, package: str, *command: str) -> None:
    """Install only a package and run its command that creates a project."""
    uv = Path(sys.prefix) / "bin/uv"
    subprocess.run([uv, "venv", "--quiet", workspace / "own"], check=True)
    python = workspace / "own/bin/python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, package], check=True)
    # Without the DJANGO_SETTINGS_MODULE of pytest.
    environment = {"PATH": f"{python.parent}:{os.environ['PATH']}"}
    subprocess.run(
        [python.with_name(command[0]), *command[1:]], cwd=workspace, check=True, env=environment
    )


def adopt_project(folder: Path, name: str) -> str:
    """Run the command that `copier copy` runs, and return its output."""
    stack = folder / "stack"
    stack.mkdir()
    arguments = (json.dumps({**ANSWERS, "name": name}), ".copier-answers.yml", "copy", "{}")
    printed = subprocess.run(
        [sys.executable, "-B", str(ROOT / "tools/tailor"), *arguments],
        cwd=stack,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert git(folder, "status", "--porcelain") == "?? stack/"
    return printed


def lock_requirements(stack: Path, pins: str) -> None:
    """Run the first half of `make lock`, which keeps the locked versions."""
    (stack / ".venv").symlink_to(sys.prefix)
    with (stack / "requirements/base.txt").open("a") as locked:
        locked.write(pins.replace(" ", "\n") + "\n")
    subprocess.run([stack / "requirements/lock"], check=True)


@contextmanager
def running_site(folder: Path, name: str) -> Iterator[Site]:
    """Commit the stack's folder, start the stack, and remove it at the end."""
    # The users of the containers read the mounted files.
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "the stack")
    site = Site(
        folder / "stack",
        f"{STACK_NAME}-{name}",
        DRAIN_SECONDS="1",
        DJANGO_SUPERUSER_USERNAME=USER,
        DJANGO_SUPERUSER_EMAIL="ann@example.com",
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
        # All tests sign in from one address.
        THROTTLE_LOGIN="off",
    )
    with removed_afterwards(site):
        site.ctl("up")
        site.wait_for_both()
        yield site


def assert_hashed_and_compressed(site: Site, page: str, name: str) -> None:
    """Assert that a page links a static file by its hashed filename, served compressed."""
    (path,) = set(re.findall(rf'"(/static/[\w/]*{name}\.[0-9a-f]{{12}}\.css)"', page))
    answer = site.get(path, headers={"Accept-Encoding": "br"})
    assert (answer.status_code, answer.headers["Content-Encoding"]) == (200, "br")
    assert "immutable" in answer.headers["Cache-Control"]


def assert_deployed_under_load(site: Site, release: str, *paths: str) -> None:
    """Deploy a release while clients load these pages, and assert that no request fails."""
    pages = [repeat(Request("GET", path)) for path in paths * 2]
    clients = [Client(page, keep_alive=number % 2 == 0) for number, page in enumerate(pages)]
    with Load(site.http_port, clients) as load:
        load.warm_up()
        site.ctl("deploy", *QUICK)
    assert not load.failed, load.summary()
    site.assert_both_run(release)


@contextmanager
def backup_then_restore(site: Site) -> Iterator[None]:
    """Back up the site before the block, and restore it after."""
    backup = site.ask("backup", "--verify")
    assert backup["verified"]
    yield
    site.ctl("restore", Path(backup["path"]).name, "--force")
    site.wait_for_both()


def count_rows(site: Site, model: str, filters: str = "") -> str:
    """Return the database vendor and the number of rows that server2 sees, as in "mysql 1"."""
    module, _, name = model.rpartition(".")
    code = (
        f"import django; django.setup()\nfrom django.db import connection\nfrom {module} import "
        f"{name}\nprint(connection.vendor, {name}.objects.filter({filters}).count())"
    )
    return site.python_in("server2", code)
