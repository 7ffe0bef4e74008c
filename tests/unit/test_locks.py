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

# Acquires the lock, prints `held`, and holds it until its standard input ends.
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
    """A process that acquires the lock."""

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

    def wait_for_output(self, text: str) -> None:
        """Wait until it has printed this text."""
        eventually(
            lambda: any(text in line for line in self.lines), seconds=30, what=f"{text!r} said"
        )

    def finish(self) -> tuple[int, str]:
        """Let it release the lock, and return its exit code and errors."""
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


Hold = Callable[..., Holder]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return the path of the database."""
    return tmp_path / "db.sqlite3"


@pytest.fixture
def hold(database: Path) -> Iterator[Hold]:
    """Return a function that starts a process which acquires the lock."""
    started: list[Holder] = []

    def start(name: str = "migrate", seconds: float = 60) -> Holder:
        started.append(Holder(database, name, seconds))
        return started[-1]

    yield start
    for holder in started:
        holder.process.kill()
        holder.process.wait()


def test_free_lock_is_acquired_without_a_message(hold: Hold) -> None:
    first = hold()
    first.wait_for_output("held")

    assert first.finish() == (0, "")
    assert first.lines == ["held"]


def test_second_process_announces_its_wait_once_and_acquires_the_lock(hold: Hold) -> None:
    first = hold()
    first.wait_for_output("held")
    second = hold()
    second.wait_for_output("another process holds the lock 'migrate'; waiting up to 60 s")
    # Wait for two more tries.
    begun = time.monotonic()
    eventually(
        lambda: time.monotonic() > begun + 2 * locks.POLL_SECONDS, seconds=30, what="two tries"
    )
    assert len(second.lines) == 1

    first.finish()

    second.wait_for_output("held")
    assert len(second.lines) == 2
    assert second.finish() == (0, "")


def test_lock_wait_times_out_with_the_next_step(hold: Hold, database: Path) -> None:
    first = hold()
    first.wait_for_output("held")
    second = hold(seconds=1)

    code, complaint = second.finish()

    assert code == 1
    for part in ("'migrate'", str(database), "more than 1 s", "statement that hangs"):
        assert part in complaint
    assert "Traceback" not in complaint
    assert "held" not in second.lines
    # The first process still holds the lock.
    assert first.process.poll() is None


def test_lock_is_released_when_its_holder_is_killed(hold: Hold) -> None:
    first = hold()
    first.wait_for_output("held")
    second = hold()
    second.wait_for_output("waiting")

    first.process.send_signal(signal.SIGKILL)

    second.wait_for_output("held")
    assert second.finish() == (0, "")


def test_locks_are_separate_for_each_name_and_database(hold: Hold, tmp_path: Path) -> None:
    hold().wait_for_output("held")

    hold("other").wait_for_output("held")
    elsewhere = Holder(tmp_path / "other.sqlite3", "migrate", 60)
    try:
        elsewhere.wait_for_output("held")
    finally:
        elsewhere.process.kill()
        elsewhere.process.wait()


def test_lock_is_released_after_an_exception(tmp_path: Path) -> None:
    connection = DatabaseWrapper(
        {**connections.settings["default"], "NAME": str(tmp_path / "db.sqlite3")}
    )
    messages: list[str] = []

    for _ in range(2):
        with (
            pytest.raises(KeyError),
            exclusive_lock(connection, "migrate", 0, messages.append),
        ):
            raise KeyError

    assert messages == []


# A database that always exists and that the tests' user may use.
OTHER_DATABASE = {"mysql": "information_schema", "postgresql": "postgres"}


def lockable_connection(tmp_path: Path, *, other: bool = False) -> BaseDatabaseWrapper:
    """Return a connection to the configured database, or to another one on the same server.

    For SQLite it is a file, because a database in memory is not locked.
    """
    names = {"sqlite": str(tmp_path / ("other" if other else "db"))}
    if other or default_connection.vendor == "sqlite":
        names |= OTHER_DATABASE
        connection = default_connection.copy()
        connection.settings_dict["NAME"] = names[connection.vendor]
        return connection
    return default_connection


@pytest.mark.django_db
def test_lock_on_the_configured_database_has_one_holder(tmp_path: Path) -> None:
    connection = lockable_connection(tmp_path)

    with (
        exclusive_lock(connection, "migrate", 0, print),
        pytest.raises(DatabaseNotReadyError),
        exclusive_lock(connection, "migrate", 0, print),
    ):
        raise AssertionError("two holders")


@pytest.mark.django_db
def test_databases_of_one_server_have_separate_locks(tmp_path: Path) -> None:
    entered = False

    with (
        exclusive_lock(lockable_connection(tmp_path), "migrate", 0, print),
        exclusive_lock(lockable_connection(tmp_path, other=True), "migrate", 0, print),
    ):
        entered = True

    assert entered


def test_database_in_memory_needs_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process can use it; no lock file is created."""
    monkeypatch.chdir(tmp_path)
    connection = DatabaseWrapper({**connections.settings["default"], "NAME": ":memory:"})

    with exclusive_lock(connection, "migrate", 0, print):
        assert list(tmp_path.iterdir()) == []
