"""Deploys under load: good and bad releases, bad migrations, two at once."""

import getpass
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos import release
from tests.chaos.conftest import VISIBILITY_SECONDS, check_nothing_lost, check_writes
from tests.chaos.disk import watched_disk
from tests.chaos.load import Client, Load, Outcome, repeated
from tests.chaos.new_task import TaskLoad, release_with_a_new_task
from tests.chaos.release import (
    both_on,
    changed_release,
    output_of,
    releases_in_service,
    run_timed,
    stackctl,
)
from tests.chaos.reliability import Figures
from tests.stack.compose import DB_ENGINE, Stack
from tests.stack.test_live_edit import edited
from tests.waiting import eventually

QUICK = ("--watch-seconds", "0.5")
# For a release that is never ready; long enough for a busy machine.
HEALTH_SECONDS = "15"
# A deploy may add this to the longest request of the steady state.
EXTRA_SECONDS = 1.0
# A task whose worker was killed is delivered again after the stack's TASK_VISIBILITY_SECONDS.
REDELIVERY_SECONDS = VISIBILITY_SECONDS + 60


@pytest.mark.alone
def test_deploys_and_rollback_fail_no_request_and_lose_no_task(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    """Release r3 adds a task; after the rollback, r2 receives messages for it."""
    seconds = []
    monitor = Load(loaded.http_port, [Client(repeated("GET", "/healthz")(), interval=0.5)])
    tasks = TaskLoad(loaded)
    with load, monitor:
        load.warm_up()
        begun = time.monotonic()
        load.over.wait(release.STEADY_SECONDS)
        released = time.monotonic()
        # A slow disk delays commits, whatever stackctl does.
        with watched_disk(loaded.inspect("server1", "{{.Image}}")) as disk:
            for name in ("r1", "r2"):
                with changed_release(loaded, name):
                    seconds.append(run_timed(loaded, "deploy", "--release", name))
                assert releases_in_service(loaded) == both_on(name)
            with tasks:
                with release_with_a_new_task(loaded):
                    seconds.append(run_timed(loaded, "deploy", "--release", "r3"))
                assert releases_in_service(loaded) == both_on("r3")
                eventually(
                    lambda: not tasks.lost(),
                    seconds=REDELIVERY_SECONDS,
                    what="all accepted tasks are done",
                )
                added = len(tasks.accepted)
                seconds.append(run_timed(loaded, "rollback"))
            assert releases_in_service(loaded) == both_on("r2")

    steady, during = (
        release.longest_by_kind(load, begun, released),
        release.longest_by_kind(load, released),
    )
    figures.add(
        "`stackctl deploy` three times, `rollback` once",
        f"0 failed; no request takes more than {EXTRA_SECONDS:g} s plus the longest disk write "
        "over the steady state's longest",
        load,
        f"{', '.join(f'{s:.0f}' for s in seconds)} s each with build and checks; longest "
        + ", ".join(f"{name} {during[name]:.2f} s ({steady[name]:.2f} steady)" for name in steady)
        + f"; the disk {disk.longest_seconds:.2f} s",
    )
    # Tasks that r2 does not know are parked for a later release.
    eventually(
        lambda: len(tasks.lost()) <= tasks.count_tasks()[1],
        seconds=REDELIVERY_SECONDS,
        what="every accepted task is done or parked",
    )
    figures.note(
        "a release that adds a task, sent four times a second; then `rollback`",
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
        allowed = before + EXTRA_SECONDS + disk.longest_seconds
        assert during[name] <= allowed, f"{name}; the disk: {disk}"


# Pages of 100 ms: four workers serve 40 a second.
CAPACITY_PER_SECOND = 40


@pytest.mark.alone
def test_deploy_at_seventy_percent_of_the_capacity_fails_no_request(
    loaded: Stack, figures: Figures
) -> None:
    """Requests arrive at a fixed rate; half of the workers could not serve them."""
    page = repeated("GET", "/loadtest/slow/100")
    rate = 0.7 * CAPACITY_PER_SECOND
    load = Load(loaded.http_port, [Client(page(), keep_alive=False, interval=1 / rate)])
    with load:
        load.over.wait(release.STEADY_SECONDS)
        released = time.monotonic()
        with changed_release(loaded, "busy"):
            output = output_of(0, stackctl(loaded, "deploy", "--release", "busy"))
        ended = time.monotonic()
    assert releases_in_service(loaded) == both_on("busy")

    steady = percentile_99([o for o in load.outcomes if o.started < released])
    during = percentile_99([o for o in load.outcomes if released <= o.started < ended])
    figures.add(
        f"`stackctl deploy` while {rate:g} pages of 0.1 s arrive each second, 70 % of the capacity",
        "0 failed",
        load,
        f"{ended - released:.0f} s with build and checks; 99 % within {during:.2f} s "
        f"({steady:.2f} steady)",
    )
    assert "next to the running release" in output
    assert not load.failed, load.summary()


def percentile_99(outcomes: list[Outcome]) -> float:
    """Return the seconds within which 99 % of the requests were answered."""
    seconds = sorted(outcome.seconds for outcome in outcomes)
    return seconds[len(seconds) * 99 // 100]


@dataclass(frozen=True)
class BadRelease:
    """A change to the tree that must not go live."""

    name: str
    file: str
    old: str
    new: str
    messages: tuple[str, ...]
    # Exit code. 3: rolled back; 1: refused before any server was changed.
    code: int = 3
    options: tuple[str, ...] = ()


LAST_LINES = "the last lines of server1"
UNLESS_BUILDING = 'import os\n\nif "DJANGO_BUILD" not in os.environ:\n'
BAD_RELEASES = (
    BadRelease(
        *("bad-settings", "mysite/settings/production.py"),
        *("# noqa: F403\n", "# noqa: F403\nimport no_such_setting\n"),
        ("the image cannot be built", "No module named 'no_such_setting'"),
        code=1,
    ),
    BadRelease(
        *("bad-urls", "mysite/urls.py"),
        # The build's own check does not see it.
        *("urlpatterns = [", f"{UNLESS_BUILDING}    import no_such_view\n\nurlpatterns = ["),
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


def test_deploy_rolls_back_a_bad_release_without_failed_requests(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    before = releases_in_service(loaded)
    untouched = release.containers(loaded)
    seconds = []
    with load:
        load.warm_up()
        for bad in BAD_RELEASES:
            started = time.monotonic()
            with edited(loaded.tree / bad.file, bad.old, bad.new):
                done = stackctl(loaded, "deploy", "--release", bad.name, *QUICK, *bad.options)
            seconds.append(f"{bad.name} {time.monotonic() - started:.0f} s")
            output = output_of(bad.code, done)
            for words in bad.messages:
                assert words in output, output[-3000:]
            assert releases_in_service(loaded) == before
            assert release.containers(loaded) == untouched

    figures.add(
        "releases that cannot be built, do not start, are never ready, answer 500",
        "0 failed; refused or rolled back (exit codes 1, 3), the previous release serves",
        load,
        ", ".join(seconds),
    )
    check_nothing_lost(load, loaded)
    outcomes = {
        entry["release"]: entry["outcome"]
        for entry in json.loads(output_of(0, stackctl(loaded, "releases", "--json")))["releases"]
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
    """Return the operations of a migration that runs these statements."""
    return ", ".join(f"migrations.RunSQL({statement!r}, '')" for statement in statements)


@contextmanager
def migrations(stack: Stack, **operations: str) -> Iterator[None]:
    """Add migrations to the app, in order, during the block."""
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


HALF_WAY_TABLES = """
with c.cursor() as cursor:
    for statement in {statements!r}:
        cursor.execute(statement)
print([name for name in sorted(c.introspection.table_names()) if "half_way" in name])
"""


# MySQL cannot roll back DDL statements; PostgreSQL rolls back a failed migration completely.
TABLES_LEFT = {"mysql": ["half_way_bad", "half_way_good"], "postgres": ["half_way_good"]}


def half_way_tables(stack: Stack, *statements: str) -> str:
    """Run statements, then return the tables that the half-way migrations created."""
    return stack.migrating(HALF_WAY_TABLES.format(statements=statements))


def test_deploy_stops_at_a_bad_migration_without_failed_requests(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    before, containers = releases_in_service(loaded), release.containers(loaded)
    half_way = {
        "good": run_sql("CREATE TABLE half_way_good (id int)"),
        "bad": run_sql("CREATE TABLE half_way_bad (id int)", "INSERT INTO nowhere VALUES (1)"),
        "never": "",
    }
    with load:
        load.warm_up()
        with migrations(loaded, drop="migrations.RemoveField('parkedtask', 'message')"):
            refused = output_of(1, stackctl(loaded, "deploy", "--release", "drops-a-column"))
        shown = loaded.run_in("server2", "python", "manage.py", "showmigrations", "ops")
        with migrations(loaded, **half_way):
            stopped = output_of(3, stackctl(loaded, "deploy", "--release", "half-way"))
        try:
            assert half_way_tables(loaded) == str(TABLES_LEFT[DB_ENGINE])
        finally:
            half_way_tables(
                loaded,
                "DROP TABLE IF EXISTS half_way_good, half_way_bad",
                "DELETE FROM django_migrations WHERE name LIKE '9%%'",
            )
        assert releases_in_service(loaded) == before

    figures.add(
        "a migration that is incompatible with the running release; one that fails half-way",
        "0 failed; refused (1), stopped and reported (3), no server touched",
        load,
    )
    check_nothing_lost(load, loaded)
    assert "ops.9000_drop: DROPPING columns (ops_parkedtask.message)" in refused
    assert "--allow-incompatible" in refused
    assert "9000" not in shown
    assert "Applied, not undone: ops.9000_good." in stopped
    assert "Failed: ops.9001_bad." in stopped
    assert "Not tried: ops.9002_never." in stopped
    assert "nowhere" in stopped
    assert release.containers(loaded) == containers


def running_command(stack: Stack) -> str:
    """Return the stackctl command that is running on the stack."""
    status = stackctl(stack, "status", "--json").stdout
    words: str = json.loads(status)["busy"]
    return words


def test_second_deploy_is_refused_while_the_first_runs(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    with load, changed_release(loaded, "first"):
        load.warm_up()
        first = release.start_stackctl(loaded, "deploy", "--release", "first", *QUICK)
        try:
            eventually(
                lambda: running_command(loaded), seconds=30, what="the first deploy holds the lock"
            )
            refused = output_of(1, stackctl(loaded, "deploy", "--release", "second"))
            no_drain = output_of(1, stackctl(loaded, "drain", "server2"))
            assert first.poll() is None, "the second deploy waited for the first"
        finally:
            output, _ = first.communicate(timeout=release.COMMAND_SECONDS)
        assert first.returncode == 0, output[-3000:]
        assert releases_in_service(loaded) == both_on("first")

    figures.add(
        "two deploys at once", "0 failed; the second is refused (1), naming the first", load
    )
    check_nothing_lost(load, loaded)
    owner = f"`stackctl deploy` of {getpass.getuser()}@{socket.gethostname()} is running since"
    for output in (refused, no_drain):
        assert owner in output and f"(process {first.pid})" in output


def test_plain_compose_up_loses_no_acknowledged_write(
    loaded: Stack, load: Load, figures: Figures
) -> None:
    """The baseline: Compose replaces all servers at once, and requests fail."""
    with load:
        load.warm_up()
        with changed_release(loaded, "plain"):
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
    assert releases_in_service(loaded) == both_on("unreleased")
