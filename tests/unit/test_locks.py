"""The lock that lets one process at a time migrate, between real processes on SQLite."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection as default_connection
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper

from ops.database import locks
from ops.database.locks import exclusive_lock
from ops.database.outage import DatabaseNotReadyError
from tests.tree import ROOT
from tests.waiting import eventually

# Takes the lock, says so, and holds it until its standard input ends.
HOLDER = """
import sys
from django.db import connection
from ops.database.outage import DatabaseNotReadyError
from ops.database.locks import exclusive_lock

name, seconds = sys.argv[1], float(sys.argv[2])
try:
    with exclusive_lock(connection, name, seconds, lambda line: print(line, flush=True)):
        print("held", flush=True)
        sys.stdin.read()
except DatabaseNotReadyError as reason:
    sys.exit(str(reason))
"""


class Holder:
    """A process that takes the lock."""

    def __init__(self, database: Path, name: str, seconds: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, name, str(seconds)],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "DJANGO_SETTINGS_MODULE": "mysite.settings.test",
                "DATABASE_URL": f"sqlite:///{database}",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def says(self, text: str) -> None:
        """Wait until it has said this."""
        eventually(
            lambda: any(text in line for line in self.lines), seconds=30, what=f"{text!r} said"
        )

    def ends(self) -> tuple[int, str]:
        """Let it free the lock, and return its exit code and what it complained about."""
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


Hold = Callable[..., Holder]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return where this test's database is."""
    return tmp_path / "db.sqlite3"


@pytest.fixture
def hold(database: Path) -> Iterator[Hold]:
    """Return a function that starts a process which takes the lock."""
    started: list[Holder] = []

    def start(name: str = "migrate", seconds: float = 60) -> Holder:
        started.append(Holder(database, name, seconds))
        return started[-1]

    yield start
    for holder in started:
        holder.process.kill()
        holder.process.wait()


def test_a_free_lock_is_taken_in_silence(hold: Hold) -> None:
    first = hold()
    first.says("held")

    assert first.ends() == (0, "")
    assert first.lines == ["held"]


def test_a_second_process_waits_says_so_once_and_gets_it(hold: Hold) -> None:
    first = hold()
    first.says("held")
    second = hold()
    second.says("another process holds the lock 'migrate'; waiting up to 60 s")
    # Some more tries, all in vain.
    begun = time.monotonic()
    eventually(
        lambda: time.monotonic() > begun + 2 * locks.POLL_SECONDS, seconds=30, what="two tries"
    )
    assert len(second.lines) == 1

    first.ends()

    second.says("held")
    assert len(second.lines) == 2
    assert second.ends() == (0, "")


def test_waiting_has_an_end_and_says_what_to_do(hold: Hold, database: Path) -> None:
    first = hold()
    first.says("held")
    second = hold(seconds=1)

    code, complaint = second.ends()

    assert code == 1
    for part in ("'migrate'", str(database), "more than 1 s", "statement that hangs"):
        assert part in complaint
    assert "Traceback" not in complaint
    assert "held" not in second.lines
    # The first one still has it.
    assert first.process.poll() is None


def test_a_killed_holder_frees_it(hold: Hold) -> None:
    first = hold()
    first.says("held")
    second = hold()
    second.says("waiting")

    first.process.send_signal(signal.SIGKILL)

    second.says("held")
    assert second.ends() == (0, "")


def test_locks_of_other_names_and_databases_are_others(hold: Hold, tmp_path: Path) -> None:
    hold().says("held")

    hold("other").says("held")
    elsewhere = Holder(tmp_path / "other.sqlite3", "migrate", 60)
    try:
        elsewhere.says("held")
    finally:
        elsewhere.process.kill()
        elsewhere.process.wait()


def test_work_that_fails_frees_it(tmp_path: Path) -> None:
    connection = DatabaseWrapper(
        {**connections.settings["default"], "NAME": str(tmp_path / "db.sqlite3")}
    )
    said: list[str] = []

    for _ in range(2):
        with (
            pytest.raises(KeyError),
            exclusive_lock(connection, "migrate", 0, said.append),
        ):
            raise KeyError

    assert said == []


# On each server a database that is always there and takes the tests' user.
OTHER_DATABASE = {"mysql": "information_schema", "postgresql": "postgres"}


def lockable_connection(tmp_path: Path, *, other: bool = False) -> BaseDatabaseWrapper:
    """Return a connection to the settings' database, or to another one on the same server.

    SQLite's is a file, because nothing is locked in memory.
    """
    names = {"sqlite": str(tmp_path / ("other" if other else "db"))}
    if other or default_connection.vendor == "sqlite":
        names |= OTHER_DATABASE
        connection = default_connection.copy()
        connection.settings_dict["NAME"] = names[connection.vendor]
        return connection
    return default_connection


@pytest.mark.django_db
def test_a_lock_has_one_holder_on_the_settings_database(tmp_path: Path) -> None:
    connection = lockable_connection(tmp_path)

    with (
        exclusive_lock(connection, "migrate", 0, print),
        pytest.raises(DatabaseNotReadyError),
        exclusive_lock(connection, "migrate", 0, print),
    ):
        raise AssertionError("two holders")


@pytest.mark.django_db
def test_databases_of_one_server_have_locks_of_their_own(tmp_path: Path) -> None:
    entered = False

    with (
        exclusive_lock(lockable_connection(tmp_path), "migrate", 0, print),
        exclusive_lock(lockable_connection(tmp_path, other=True), "migrate", 0, print),
    ):
        entered = True

    assert entered


def test_a_database_in_memory_is_nobody_else_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So there is nothing to lock, and no file is left behind."""
    monkeypatch.chdir(tmp_path)
    connection = DatabaseWrapper({**connections.settings["default"], "NAME": ":memory:"})

    with exclusive_lock(connection, "migrate", 0, print):
        assert list(tmp_path.iterdir()) == []
