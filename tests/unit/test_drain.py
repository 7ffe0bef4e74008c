"""supervisor/drain: how long a stopping server waits, and when it does not need to."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.tree import ROOT
from tests.waiting import eventually
from tools.stackctl.releases.surge import MARK_DRAINED

SECONDS = "0.3"

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")


def mark(drain_file: Path) -> Path:
    """Mark the server as drained, as a deploy does; return the marker file."""
    subprocess.run(["sh", "-c", MARK_DRAINED], env={"DRAIN_FILE": str(drain_file)}, check=True)
    (result,) = drain_file.parent.glob(f"{drain_file.name}?*")
    return result


# A `sleep` that records each wait during which /readyz answers 404.
SLEEP = f"""#!/bin/sh
[ "$1" = infinity ] || [ ! -e "$DRAIN_FILE" ] || echo "$1" >>"$DRAIN_FILE-waits"
exec {shutil.which("sleep")} "$1"
"""


def programs(folder: Path) -> str:
    """Return a PATH whose first folder has that `sleep`."""
    place = folder / "programs"
    place.mkdir()
    (place / "sleep").write_text(SLEEP)
    (place / "sleep").chmod(0o755)
    return f"{place}:{os.environ['PATH']}"


def start(drain_file: Path) -> subprocess.Popen[str]:
    """Start the program, and return once it handles SIGTERM."""
    path = programs(drain_file.parent)
    left = drain_file.with_name("drain")
    left.touch()
    process = subprocess.Popen(
        [ROOT / "supervisor" / "drain"],
        env={"PATH": path, "DRAIN_FILE": str(drain_file), "DRAIN_SECONDS": SECONDS},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    eventually(lambda: catches_term(process.pid), seconds=10, what="it listens")
    assert not left.exists(), "the drain file is left after a restart"
    return process


def catches_term(pid: int) -> bool:
    """Return whether a process has a handler for SIGTERM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = [line.split()[1] for line in lines if line.startswith("SigCgt:")]
    return bool(int(mask, 16) & 1 << (signal.SIGTERM - 1))


def stop(process: subprocess.Popen[str]) -> str:
    """Stop the program, as supervisor does, and return its output."""
    process.terminate()
    _, output = process.communicate(timeout=20)
    assert process.returncode == 0
    return output


def waits(folder: Path) -> list[str]:
    """Return the recorded waits."""
    file = folder / "drain-waits"
    return file.read_text().split() if file.exists() else []


def test_stop_makes_readyz_404_and_waits_for_drain_seconds(tmp_path: Path) -> None:
    output = stop(start(tmp_path / "drain"))

    assert f"/readyz answers 404; stopping in {SECONDS} s" in output
    assert waits(tmp_path) == [SECONDS]
    assert (tmp_path / "drain").exists()


def test_second_stop_signal_does_not_prolong_the_wait(tmp_path: Path) -> None:
    process = start(tmp_path / "drain")
    process.terminate()
    eventually(lambda: waits(tmp_path), seconds=10, what="it waits")

    stop(process)

    assert waits(tmp_path) == [SECONDS]


def test_stop_of_a_server_drained_by_a_deploy_does_not_wait(tmp_path: Path) -> None:
    process = start(tmp_path / "drain")
    mark(tmp_path / "drain")
    output = stop(process)

    assert "drained before; stopping at once" in output
    assert waits(tmp_path) == []
    assert (tmp_path / "drain").exists()


@pytest.mark.parametrize("when", ["before this start", "a minute ago"])
def test_drain_ignores_an_old_mark_of_a_deploy(tmp_path: Path, when: str) -> None:
    if when == "before this start":
        mark(tmp_path / "drain")
    process = start(tmp_path / "drain")
    if when == "a minute ago":
        past = time.time() - 60
        os.utime(mark(tmp_path / "drain"), (past, past))

    stop(process)

    assert waits(tmp_path) == [SECONDS]
