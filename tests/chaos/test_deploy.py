"""New releases while visitors are there: good ones, bad ones, two at once."""

import getpass
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import release
from tests.chaos.conftest import VISIBILITY_SECONDS, check_nothing_lost, check_writes
from tests.chaos.disk import watched_disk
from tests.chaos.load import Client, Load, always
from tests.chaos.new_task import Tasks, release_with_a_new_task
from tests.chaos.release import all_on, another_release, answering, ends, stackctl, timed
from tests.chaos.reliability import Figures
from tests.stack.compose import DB_ENGINE, Stack
from tests.stack.test_live_edit import edited
from tests.waiting import eventually

QUICK = ("--watch-seconds", "0.5")
# For a release that is never ready: what it says is not hurried by a busy machine.
HEALTH_SECONDS = "15"
# What a release may add to the longest request of the steady state.
LONGER_SECONDS = 1.0
# A task whose worker was killed is delivered again after the stack's TASK_VISIBILITY_SECONDS.
LOST = VISIBILITY_SECONDS + 60


def test_deploys_and_a_rollback_lose_nothing(loaded: Stack, load: Load, figures: Figures) -> None:
    """Neither requests nor tasks: r3 adds a task, and the rollback meets what it sent."""
    seconds = []
    monitor = Load(loaded.http_port, [Client(always("GET", "/healthz")(), pause=0.5)])
    tasks = Tasks(loaded)
    with load, monitor:
        load.warm_up()
        begun = time.monotonic()
        load.over.wait(release.STEADY_SECONDS)
        released = time.monotonic()
        # A commit that waits for the disk holds its worker, whatever stackctl does.
        with watched_disk(loaded.inspect("server1", "{{.Image}}")) as disk:
            for name in ("r1", "r2"):
                with another_release(loaded, name):
                    seconds.append(timed(loaded, "deploy", "--release", name))
                assert answering(loaded) == all_on(name)
            with tasks:
                with release_with_a_new_task(loaded):
                    seconds.append(timed(loaded, "deploy", "--release", "r3"))
                assert answering(loaded) == all_on("r3")
                eventually(
                    lambda: not tasks.lost(), seconds=LOST, what="all accepted tasks are done"
                )
                added = len(tasks.accepted)
                seconds.append(timed(loaded, "rollback"))
            assert answering(loaded) == all_on("r2")

    steady, during = release.longest(load, begun, released), release.longest(load, released)
    figures.add(
        "`stackctl deploy` three times, `rollback` once",
        f"0 failed; no request more than {LONGER_SECONDS:g} s over the steady state's longest, and "
        "what the disk kept a write waiting",
        load,
        f"{', '.join(f'{s:.0f}' for s in seconds)} s each with build and checks; longest "
        + ", ".join(f"{name} {during[name]:.2f} s ({steady[name]:.2f} steady)" for name in steady)
        + f"; the disk {disk.longest_seconds:.2f} s",
    )
    # What r2 does not know is kept for a release that does.
    eventually(
        lambda: len(tasks.lost()) <= tasks.counted()[1],
        seconds=LOST,
        what="every accepted task is done or parked",
    )
    figures.note(
        "a release that adds a task, whose view is asked four times a second; then `rollback`",
        "every accepted task is done after the release; after the rollback it is done or parked",
        requests=len(tasks.outcomes),
        failed=sum(outcome.status not in (202, 404) for outcome in tasks.outcomes),
        longest=max(outcome.seconds for outcome in tasks.outcomes),
        seen=f"{added} accepted and done at the release's end; "
        f"{len(tasks.accepted)} accepted, {len(tasks.lost())} parked after the rollback",
    )
    figures.add("`/healthz` during these releases", "200 throughout", monitor)
    assert added > 20
    assert not monitor.failed, monitor.summary()
    check_nothing_lost(load, loaded)
    assert set(steady) == set(during)
    for name, before in steady.items():
        allowed = before + LONGER_SECONDS + disk.longest_seconds
        assert during[name] <= allowed, f"{name}; the disk: {disk}"


@dataclass(frozen=True)
class BadRelease:
    """One change to the tree that must not reach visitors."""

    name: str
    file: str
    old: str
    new: str
    says: tuple[str, ...]
    # 3: failed, and the release before is back on what was touched; 1: nothing was touched.
    code: int = 3
    options: tuple[str, ...] = ()


LAST_LINES = "the last lines of server1"
BAD_RELEASES = (
    BadRelease(
        *("bad-settings", "mysite/settings/production.py"),
        *("# noqa: F403\n", "# noqa: F403\nimport no_such_setting\n"),
        ("the image cannot be built", "No module named 'no_such_setting'"),
        code=1,
    ),
    BadRelease(
        *("bad-urls", "mysite/urls.py"),
        *("urlpatterns = [", "import no_such_view\n\nurlpatterns = ["),
        (LAST_LINES, "No module named 'no_such_view'"),
    ),
    BadRelease(
        *("never-ready", "ops/middleware.py"),
        *("if settings.DRAIN_FILE.exists():", "if settings.DRAIN_FILE:"),
        (LAST_LINES, f"it was not healthy within {HEALTH_SECONDS} s"),
        options=("--health-seconds", HEALTH_SECONDS),
    ),
    BadRelease(
        *("answers-500", "ops/profile.py"),
        "def active_profile() -> dict[str, str | bool]:",
        "def active_profile() -> dict[str, str | bool]:\n    raise RuntimeError('not me')\n",
        (LAST_LINES, "/profile/ answers 500", "not me"),
    ),
)


def test_bad_releases_are_taken_back_and_lose_nothing(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    before = answering(loaded)
    untouched = loaded.container("server2")
    seconds = []
    with load:
        load.warm_up()
        for bad in BAD_RELEASES:
            started = time.monotonic()
            with edited(loaded.tree / bad.file, bad.old, bad.new):
                done = stackctl(loaded, "deploy", "--release", bad.name, *QUICK, *bad.options)
            seconds.append(f"{bad.name} {time.monotonic() - started:.0f} s")
            said = ends(bad.code, done)
            for words in bad.says:
                assert words in said, said[-3000:]
            assert answering(loaded) == before
            assert loaded.container("server2") == untouched

    figures.add(
        "releases that cannot be built, do not start, are never ready, answer 500",
        "0 failed; refused or taken back (exit codes 1, 3), the release before serves",
        load,
        ", ".join(seconds),
    )
    check_nothing_lost(load, loaded)
    outcomes = {
        entry["release"]: entry["outcome"]
        for entry in json.loads(ends(0, stackctl(loaded, "releases", "--json")))["releases"]
    }
    for bad in BAD_RELEASES:
        assert outcomes.get(bad.name) == ("rolled back" if bad.code == 3 else "failed")


MIGRATION = """
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("ops", "{after}")]
    operations = [{operations}]
"""


def run_sql(*statements: str) -> str:
    """Return a migration's operations that run statements one after the other."""
    return ", ".join(f"migrations.RunSQL({statement!r}, '')" for statement in statements)


@contextmanager
def migrations(stack: Stack, **operations: str) -> Iterator[None]:
    """Add migrations to the app, in order, for the block's time."""
    folder = stack.tree / "ops" / "migrations"
    after = max(path.stem for path in folder.glob("[0-9]*.py"))
    added: list[Path] = []
    try:
        for name, text in operations.items():
            path = folder / f"9{len(added):03}_{name}.py"
            path.write_text(MIGRATION.format(after=after, operations=text))
            added.append(path)
            after = path.stem
        yield
    finally:
        for path in added:
            path.unlink()


IN_THE_DATABASE = """
import django
django.setup()
from django.db import connection
with connection.cursor() as cursor:
    for statement in {statements!r}:
        cursor.execute(statement)
print([name for name in sorted(connection.introspection.table_names()) if "half_way" in name])
"""


# MySQL cannot undo a change of a table; PostgreSQL undoes all of a migration that fails.
HALF_DONE = {"mysql": ["half_way_bad", "half_way_good"], "postgres": ["half_way_good"]}


def half_way_tables(stack: Stack, *statements: str) -> str:
    """Run statements, then return the tables that the half-way migrations have made."""
    return stack.python_in("server1", IN_THE_DATABASE.format(statements=statements))


def test_a_bad_migration_is_refused_or_reported_and_loses_nothing(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    before, containers = answering(loaded), release.containers(loaded)
    half_way = {
        "good": run_sql("CREATE TABLE half_way_good (id int)"),
        "bad": run_sql("CREATE TABLE half_way_bad (id int)", "INSERT INTO nowhere VALUES (1)"),
        "never": "",
    }
    with load:
        load.warm_up()
        with migrations(loaded, drop="migrations.RemoveField('parkedtask', 'message')"):
            refused = ends(1, stackctl(loaded, "deploy", "--release", "drops-a-column"))
        shown = loaded.run_in("server2", "python", "manage.py", "showmigrations", "ops")
        with migrations(loaded, **half_way):
            stopped = ends(3, stackctl(loaded, "deploy", "--release", "half-way"))
        try:
            assert half_way_tables(loaded) == str(HALF_DONE[DB_ENGINE])
        finally:
            half_way_tables(
                loaded,
                "DROP TABLE IF EXISTS half_way_good, half_way_bad",
                "DELETE FROM django_migrations WHERE name LIKE '9%%'",
            )
        assert answering(loaded) == before

    figures.add(
        "a migration that the running release cannot live with; one that fails half-way",
        "0 failed; refused (1), stopped and reported (3), no server touched",
        load,
    )
    check_nothing_lost(load, loaded)
    assert "ops.9000_drop: DROPPING columns (ops_parkedtask.message)" in refused
    assert "--allow-incompatible" in refused
    assert "9000" not in shown
    assert "Applied, and they stay: ops.9000_good." in stopped
    assert "Failed: ops.9001_bad." in stopped
    assert "Not tried: ops.9002_never." in stopped
    assert "nowhere" in stopped
    assert release.containers(loaded) == containers


def busy(stack: Stack) -> str:
    """Return which command of stackctl runs on the stack."""
    status = stackctl(stack, "status", "--json").stdout
    words: str = json.loads(status)["busy"]
    return words


def test_of_two_deploys_at_once_the_second_is_refused(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    with load, another_release(loaded, "first"):
        load.warm_up()
        first = release.start(loaded, "deploy", "--release", "first", *QUICK)
        try:
            eventually(lambda: busy(loaded), seconds=30, what="the first holds the lock")
            refused = ends(1, stackctl(loaded, "deploy", "--release", "second"))
            no_drain = ends(1, stackctl(loaded, "drain", "server2"))
            assert first.poll() is None, "the second waited for the first"
        finally:
            output, _ = first.communicate(timeout=release.COMMAND_SECONDS)
        assert first.returncode == 0, output[-3000:]
        assert answering(loaded) == all_on("first")

    figures.add(
        "two deploys at once", "0 failed; the second is refused (1), naming the first", load
    )
    check_nothing_lost(load, loaded)
    who = f"`stackctl deploy` of {getpass.getuser()}@{socket.gethostname()} is running since"
    for said in (refused, no_drain):
        assert who in said and f"(process {first.pid})" in said


def test_what_plain_compose_loses(loaded: Stack, load: Load, figures: Figures) -> None:
    """The baseline: all servers are replaced at once."""
    with load:
        load.warm_up()
        with another_release(loaded, "plain"):
            started = time.monotonic()
            loaded.compose("up", "--detach", "--build")
            loaded.wait_for_both()
        seconds = time.monotonic() - started

    figures.add(
        "plain `docker compose up --detach --build` with a changed module",
        "no claim: the baseline",
        load,
        f"{seconds:.0f} s until both answer",
    )
    check_writes(load, loaded)
    assert answering(loaded) == all_on("unreleased")
