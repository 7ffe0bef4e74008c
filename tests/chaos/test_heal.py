"""`stackctl heal --watch` restarts servers that Docker does not restart."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.conftest import check_writes
from tests.chaos.load import Load
from tests.chaos.recovery import IN_FLIGHT, check_failures, is_in_service, seconds_to_recover
from tests.chaos.reliability import Figures
from tests.stack.compose import APP_SERVER, Stack, docker
from tests.stack.test_recovery import processes
from tests.waiting import eventually


@contextmanager
def watching_heal(stack: Stack, log: Path) -> Iterator[Callable[[], str]]:
    """Run `stackctl heal --watch` during the block; yield a function that returns its output."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.stackctl", "heal", "--watch", "--seconds", "1"],
            cwd=stack.tree,
            env={**stack.environment, "COMPOSE_PROJECT_NAME": stack.project},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: "watching" in log.read_text(), seconds=30, what="heal is watching")
        yield log.read_text
    finally:
        process.terminate()
        code = process.wait(60)
    assert code == 0, log.read_text()


def test_heal_restarts_a_killed_server_and_leaves_a_stopped_one(
    loaded: Stack, load: Load, figures: Figures, tmp_path: Path
) -> None:
    with watching_heal(loaded, tmp_path / "log") as log, load:
        load.warm_up()
        killed = time.monotonic()
        docker("kill", "--signal", "KILL", loaded.container("server1"))
        seconds = seconds_to_recover(
            load,
            killed,
            lambda: "server1: back in service" in log() and is_in_service(loaded, "set1"),
        )
        loaded.stop("server2")
        eventually(
            lambda: "server2: it was stopped cleanly; not restarted" in log(),
            seconds=30,
            what="heal has seen that server2 was stopped",
        )
        assert loaded.inspect("server2", "{{.State.Status}}") == "exited"
        loaded.compose("start", "server2")
        loaded.wait_for_both()

    figures.add(
        "`docker kill -s KILL` of server1 with `stackctl heal --watch`, then a stop of server2",
        f"0 GETs and at most {IN_FLIGHT} POSTs failed, none written twice; heal restarts it; "
        "a stopped server stays stopped",
        load,
        f"server1 back in service after {seconds:.1f} s",
    )
    assert "server1: it ended with exit code 137; starting it" in log()
    check_failures(load, posts=IN_FLIGHT)
    check_writes(load, loaded)


def test_heal_restarts_a_hanging_server(loaded: Stack, tmp_path: Path) -> None:
    before = loaded.inspect("server1", "{{.State.StartedAt}}")
    with watching_heal(loaded, tmp_path / "log") as log:
        hanging = {**processes(loaded, "nginx"), **processes(loaded, APP_SERVER)}
        loaded.run_in("server1", "sh", "-c", f"kill -STOP {' '.join(map(str, hanging))}")
        eventually(
            lambda: "server1: back in service" in log(), seconds=150, what="server1 is healed"
        )

    assert "server1: it runs, but it is unhealthy; restarting it" in log()
    assert loaded.inspect("server1", "{{.State.StartedAt}}") != before
    loaded.wait_for_both()
