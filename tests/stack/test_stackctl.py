"""./stackctl with real containers: one stack, which every test leaves whole."""

import gzip
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.stack.compose import STACK_NAME, Stack, docker, secret_environment
from tests.tree import copy_tree
from tests.waiting import eventually

# Images and containers of this stack's own, so that no other test's build comes between.
NAME = f"{STACK_NAME}-ctl"
PROJECT = f"{NAME}-production"
SERVERS = ("server1", "server2")
QUICK = ("--health-seconds", "40", "--watch-seconds", "0.5")


class Site(Stack):
    """A stack that stackctl runs, in a git repository of its own."""

    def __init__(self, tree: Path) -> None:
        """Describe it; DRAIN_SECONDS=0 leaves nobody but stackctl to keep requests from loss."""
        super().__init__(
            tree,
            "production",
            **secret_environment(),
            DJANGO_SECURE_SSL_REDIRECT="false",
            DRAIN_SECONDS="0",
            STACK_NAME=NAME,
        )
        self.project = PROJECT

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of stackctl, as a terminal would: in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "stackctl_cli", *arguments],
            cwd=self.tree,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ctl(self, *arguments: str, code: int = 0) -> str:
        """Run a command of stackctl, which must end with this code; return what it printed."""
        return ended(self.start(*arguments), code)

    def ask(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run a command of stackctl for scripts and return its JSON, the whole standard output."""
        result = subprocess.run(
            [sys.executable, "-m", "stackctl_cli", *arguments, "--json"],
            cwd=self.tree,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == code, result.stderr[-5000:]
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def states(self) -> dict[str, str]:
        """Return each server's state."""
        return {s["server"]: s["state"] for s in self.ask("status", code=ANY)["servers"]}

    def whole_on(self, release: str) -> None:
        """Assert that both servers are in service with a release, and answer with it."""
        servers = self.ask("status")["servers"]
        assert {(s["state"], s["release"]) for s in servers} == {("ready", release)}
        profiles = [self.profile() for _ in range(6)]
        assert {p["server"] for p in profiles} == {"set1", "set2"}
        assert {p["release"] for p in profiles} == {release}

    def release(self) -> str:
        """Return the release that both servers run."""
        (release,) = {s["release"] for s in self.ask("status")["servers"]}
        return str(release)

    def containers(self) -> list[str]:
        """Return both servers' containers."""
        return [self.container(server) for server in SERVERS]

    def commit(self) -> str:
        """Commit the tree and return the release that it is."""
        git(self.tree, "add", "--all")
        git(self.tree, "commit", "--quiet", "--allow-empty", "--message", "a release")
        return git(self.tree, "rev-parse", "--short=12", "HEAD")

    @contextmanager
    def edited(self, name: str, old: str, new: str) -> Iterator[str]:
        """Commit a change for the block's time and give the release that it makes."""
        path = self.tree / name
        original = path.read_text()
        assert old in original
        path.write_text(original.replace(old, new))
        try:
            yield self.commit()
        finally:
            path.write_text(original)
            self.commit()

    @contextmanager
    def added(self, files: dict[str, str]) -> Iterator[str]:
        """Commit new files for the block's time and give the release that they make."""
        for name, text in files.items():
            (self.tree / name).write_text(text)
        try:
            yield self.commit()
        finally:
            for name in files:
                (self.tree / name).unlink()
            self.commit()


class _Any(int):
    """An exit code that is equal to every other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


ANY = _Any()


def ended(process: subprocess.Popen[str], code: int) -> str:
    """Wait for a command, which must end with this code and without a traceback."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output[-5000:]
    # The application may show one; stackctl itself never does.
    assert "stackctl_cli/" not in output
    return output


def git(tree: Path, *arguments: str) -> str:
    """Run git as somebody, whoever runs the tests."""
    who = ("-c", "user.name=Tester", "-c", "user.email=tester@example.com")
    return subprocess.run(
        ["git", *who, *arguments], cwd=tree, check=True, capture_output=True, text=True
    ).stdout.strip()


class Load:
    """Visitors who ask without a pause; every request has an outcome."""

    def __init__(self, port: int, visitors: int = 6) -> None:
        """Get ready; half of them keep their connection."""
        self.port = port
        self.done = threading.Event()
        self.good = 0
        self.failed: list[str] = []
        self.releases: set[str] = set()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._visit, args=(number % 2 == 0,), daemon=True)
            for number in range(visitors)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self._threads:
            thread.join(40)
        assert not self.failed, f"{len(self.failed)} of {self.good}: {self.failed[:5]}"
        assert self.good > 100

    def _visit(self, keep: bool) -> None:
        connection: HTTPConnection | None = None
        while not self.done.wait(0.01):
            connection = connection or HTTPConnection("127.0.0.1", self.port, timeout=35)
            try:
                connection.request("GET", "/profile/")
                answer = connection.getresponse()
                body = answer.read()
                self._note(answer.status, body)
                keep_it = keep and not answer.will_close
            except (OSError, HTTPException) as error:
                with self._lock:
                    self.failed.append(repr(error))
                keep_it = False
            if not keep_it:
                connection.close()
                connection = None

    def _note(self, status: int, body: bytes) -> None:
        with self._lock:
            if status == 200:
                self.good += 1
                self.releases.add(json.loads(body)["release"])
            else:
                self.failed.append(f"{status} {body[:200]!r}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The production layer, started by stackctl."""
    tree = copy_tree(tmp_path_factory.mktemp("stackctl"))
    git(tree, "init", "--quiet")
    site = Site(tree)
    site.commit()
    clear(site)
    try:
        site.ctl("up")
        yield site
    finally:
        clear(site)


def clear(site: Site) -> None:
    """Remove the stack with its data and images."""
    site.down(volumes=True)
    for name in ("production", "base"):
        if images := docker("image", "ls", "--quiet", f"{NAME}-{name}").split():
            docker("image", "rm", "--force", *set(images))
    shutil.rmtree(site.tree / "var" / "stackctl", ignore_errors=True)


def test_up_has_started_the_release_that_git_names(site: Site) -> None:
    site.whole_on(git(site.tree, "rev-parse", "--short=12", "HEAD"))

    before = site.containers()
    site.ctl("up")
    assert site.containers() == before
    assert "ready" in site.ctl("status")
    assert site.ask("doctor")["code"] == 0


def test_a_port_that_another_holds_is_named_and_nothing_is_started(site: Site) -> None:
    other = {**site.environment, "COMPOSE_PROJECT_NAME": f"{PROJECT}-other"}
    refused = subprocess.run(
        [sys.executable, "-m", "stackctl_cli", "up"],
        cwd=site.tree,
        env=other,
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 1
    assert f"port {site.http_port} is taken by the container {PROJECT}-haproxy-1" in refused.stderr
    assert f"HTTP_PORT={site.http_port + 1} ./stackctl up" in refused.stderr
    assert f"port {site.stats_port} is taken" in refused.stderr
    assert not docker("ps", "--all", "--quiet", "--filter", f"name={PROJECT}-other")


def test_drain_and_ready(site: Site) -> None:
    with Load(site.http_port):
        assert site.ask("drain", "server1")["state"] == "drained"
        assert site.in_service() == {"set2"}

        refused = site.ctl("drain", "server2", code=1)
        assert "last server in service" in refused
        refused = site.ctl("deploy", *QUICK, "--force", code=1)
        assert "server1 is drained" in refused and "./stackctl ready server1" in refused
        assert site.states() == {"server1": "drained", "server2": "ready"}

        assert site.ask("ready", "server1")["state"] == "ready"
    assert site.in_service() == {"set1", "set2"}
    assert "server1, server2" in site.ctl("drain", "server3", code=2)


def test_a_deploy_loses_no_request(site: Site) -> None:
    old = site.release()
    with site.edited("api/profile.py", '"""What this', '"""Again: what this') as new:
        with Load(site.http_port) as load:
            result = site.ask("deploy", *QUICK)
        assert result["servers"] == {"server1": new, "server2": new}
        assert load.releases == {old, new}
        site.whole_on(new)

        # Compose itself keeps to it, and a second deploy finds nothing to do.
        before = site.containers()
        site.compose("up", "--detach", "--no-build")
        assert site.ask("deploy", *QUICK)["changed"] is False
        assert site.containers() == before


def test_rollback_loses_no_request(site: Site) -> None:
    new = site.release()
    old = site.ask("releases")["releases"][-1]["release"]
    with Load(site.http_port):
        assert site.ask("rollback", *QUICK[2:])["release"] == old
    site.whole_on(old)

    record = site.ask("releases")
    assert record["running"] == [old]
    assert [(r["action"], r["release"], r["outcome"]) for r in record["releases"][:2]] == [
        ("rollback", old, "ok"),
        ("deploy", new, "ok"),
    ]
    assert "nosuch" in site.ctl("rollback", "nosuch", code=2)


def test_two_at_once_and_an_interrupt(site: Site) -> None:
    """The second is refused; Ctrl-C ends the first where both servers are in service."""
    old = site.release()
    with (
        site.edited("api/profile.py", '"""What this', '"""Once more: what this') as new,
        Load(site.http_port),
    ):
        first = site.start("deploy", *QUICK)
        eventually(
            lambda: site.states()["server1"] not in ("ready", "draining", "drained"),
            seconds=60,
            what="server1 is on its way",
        )
        refused = site.ctl("deploy", *QUICK, code=1)
        assert "`stackctl deploy` of" in refused and "is running since" in refused
        assert "refused" in site.ctl("drain", "server2", code=1)

        first.send_signal(signal.SIGINT)
        output = ended(first, 130)
    assert f"server1 runs {new}, server2 runs {old}" in output
    assert site.states() == {"server1": "ready", "server2": "ready"}
    assert site.in_service() == {"set1", "set2"}
    site.ctl("rollback", old, *QUICK[2:])
    site.whole_on(old)


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        (
            "mysite/wsgi.py",
            "import os",
            "import os\n\nraise RuntimeError('not today')\n",
            "not today",
        ),
        (
            "api/profile.py",
            "def active_profile() -> dict[str, str | bool]:",
            "def active_profile() -> dict[str, str | bool]:\n    raise RuntimeError('not me')\n",
            "/profile/ answers 500",
        ),
    ],
    ids=["never starts", "answers 500"],
)
def test_a_bad_release_is_taken_back(site: Site, name: str, old: str, new: str, says: str) -> None:
    before = site.release()
    untouched = site.container("server2")
    with site.edited(name, old, new) as bad, Load(site.http_port) as load:
        output = site.ctl("deploy", "--health-seconds", "8", code=3)
    assert says in output
    assert "the last lines of server1" in output
    assert load.releases == {before}
    site.whole_on(before)
    assert site.container("server2") == untouched
    last = site.ask("releases")["releases"][0]
    assert (last["release"], last["outcome"]) == (bad, "rolled back")


def test_backup_and_restore(site: Site) -> None:
    """A row and a file come back; a wrong checksum and a running stack are refused."""
    hits = site.post("/api/hits/").json()["hits"]
    site.run_in(
        "server1", "sh", "-c", "mkdir -p /srv/media/drill; echo kept >/srv/media/drill/file"
    )
    saved = site.ask("backup")
    folder = Path(saved["path"])
    assert [oct(path.stat().st_mode & 0o777) for path in folder.iterdir()] == ["0o600"] * 3
    assert saved["release"] == site.release()
    password = site.environment["DB_PASSWORD"]
    assert password not in gzip.decompress((folder / "database.sql.gz").read_bytes()).decode()

    site.post("/api/hits/")
    site.run_in("server1", "sh", "-c", "rm -r /srv/media/drill; touch /srv/media/later")
    assert "the stack is running" in site.ctl("restore", folder.name, code=1)
    damaged = shutil.copytree(folder, folder.with_name("damaged"))
    with (damaged / "media.tar.gz").open("ab") as file:
        file.write(b"x")
    assert "wrong checksum" in site.ctl("restore", "damaged", "--force", code=1)
    unknown = (folder / "manifest.json").read_text().replace('"format": 1', '"format": 99')
    (damaged / "manifest.json").write_text(unknown)
    assert "format 99" in site.ctl("restore", "damaged", "--force", code=1)
    assert site.get("/api/hits/").json()["hits"] == hits + 1

    site.ctl("down")
    before = site.ask("restore", folder.name)["before"]
    site.ctl("up")
    assert site.get("/api/hits/").json()["hits"] == hits
    assert site.run_in("server2", "cat", "/srv/media/drill/file") == "kept\n"
    assert site.run_in("server2", "ls", "/srv/media") == "drill\n"
    # What the restore replaced can be had back in turn.
    site.ctl("restore", Path(before).name, "--force")
    assert site.get("/api/hits/").json()["hits"] == hits + 1
    assert "later" in site.run_in("server2", "ls", "/srv/media")


MIGRATION = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "{after}")]
    operations = [{operation}]
"""


def last_migration(site: Site) -> str:
    """Return the newest migration of the app."""
    return max(path.stem for path in (site.tree / "api" / "migrations").glob("[0-9]*.py"))


def applied(site: Site) -> str:
    """Return what Django says of the app's migrations."""
    return site.run_in("server2", "python", "manage.py", "showmigrations", "api")


def test_an_incompatible_migration_is_refused(site: Site) -> None:
    before, containers = site.release(), site.containers()
    drop = MIGRATION.format(
        after=last_migration(site),
        operation="migrations.RemoveField('counter', 'value')",
    )
    with site.added({"api/migrations/9001_drop.py": drop}), Load(site.http_port):
        output = site.ctl("deploy", *QUICK, code=1)
    assert "api.9001_drop: DROPPING columns (api_counter.value)" in output
    assert "--allow-incompatible" in output
    assert site.containers() == containers
    assert "9001" not in applied(site)
    site.whole_on(before)


def test_a_migration_that_fails_half_way_is_reported(site: Site) -> None:
    before, containers = site.release(), site.containers()
    good = MIGRATION.format(
        after=last_migration(site),
        operation="migrations.RunSQL('CREATE TABLE half_way (id int)', 'DROP TABLE half_way')",
    )
    bad = MIGRATION.format(
        after="9001_good",
        operation="migrations.RunSQL('INSERT INTO nowhere VALUES (1)', '')",
    )
    never = MIGRATION.format(after="9002_bad", operation="")
    files = {"9001_good": good, "9002_bad": bad, "9003_never": never}
    with (
        site.added({f"api/migrations/{name}.py": text for name, text in files.items()}),
        Load(site.http_port),
    ):
        output = site.ctl("deploy", *QUICK, code=3)
    assert "Applied, and they stay: api.9001_good." in output
    assert "Failed: api.9002_bad." in output
    assert "Not tried: api.9003_never." in output
    assert "nowhere" in output
    assert site.containers() == containers
    site.whole_on(before)
    site.python_in(
        "server1",
        "import django; django.setup()\n"
        "from django.db import connection as c\n"
        "c.cursor().execute('DROP TABLE half_way')\n"
        "c.cursor().execute(\"DELETE FROM django_migrations WHERE name LIKE '9%%'\")",
    )
