"""Lock, record and owner of a stack, which all clones share through the engine."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stack.compose import STACK_NAME, docker
from tests.waiting import eventually
from tools.stackctl.common import process
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.docker import compose, lock
from tools.stackctl.releases import record

IMAGE = "haproxy:3.0"
# Holds the lock in another process until it is killed.
HOLD = """import sys, time
from pathlib import Path
from tools.stackctl.docker import compose, lock
from tools.stackctl.common import process
process.ROOT = Path(sys.argv[2])
project = compose.Project(sys.argv[1], "local", {"services": {"haproxy": {"image": "haproxy:3.0"}}})
with lock.held(project, "deploy"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def project() -> Iterator[compose.Project]:
    """Return a project without containers, and remove its volume at the end."""
    name = f"{STACK_NAME}-lock"
    project = compose.Project(name, "local", {"services": {"haproxy": {"image": IMAGE}}})
    lock.remove(project)
    yield project
    lock.remove(project)


@pytest.fixture
def clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Create two clones of the project; stackctl runs in the first."""
    first, second = tmp_path / "first clone", tmp_path / "second"
    for folder in (first, second):
        (folder / "haproxy").mkdir(parents=True)
    monkeypatch.setattr(process, "ROOT", first)
    return first, second


def entry(release: str) -> record.Entry:
    return record.Entry("2030-01-01T00:00:00Z", "deploy", release, "sha256:1", "ok", "me@here")


def test_another_clone_is_refused_until_it_adopts_the_stack(
    project: compose.Project, clones: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = clones
    with lock.held(project, "up"):
        record.append(project, entry("a"))
    monkeypatch.setattr(process, "ROOT", second)

    with pytest.raises(StackctlError) as refused, lock.held(project, "down"):
        raise AssertionError("another clone holds the lock")
    assert f"belongs to the folder {first}" in refused.value.problem
    assert "STACK_NAME" in refused.value.hint and "./stackctl adopt" in refused.value.hint

    assert lock.other_owner(project) == str(first)
    with lock.held(project, "adopt", adopt=True) as before:
        assert before == str(first)
    assert lock.other_owner(project) == ""
    with lock.held(project, "deploy"):
        record.append(project, entry("b"))
    assert record.releases(project) == ["b", "a"]
    monkeypatch.setattr(process, "ROOT", first)
    with pytest.raises(StackctlError, match=f"belongs to the folder {second}"), ExitStack() as held:
        held.enter_context(lock.held(project, "up"))


def test_stack_without_an_owner_belongs_to_the_compose_working_directory(
    project: compose.Project, clones: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a stack of an earlier version, or one started with plain Compose."""
    label = "com.docker.compose.project"
    container = docker(
        *("create", "--label", f"{label}={project.name}"),
        *("--label", f"{label}.working_dir={clones[0]}", IMAGE),
    )
    try:
        monkeypatch.setattr(process, "ROOT", clones[1])
        with pytest.raises(StackctlError, match="belongs to the folder"), ExitStack() as held:
            held.enter_context(lock.held(project, "down"))
        monkeypatch.setattr(process, "ROOT", clones[0])
        with lock.held(project, "down"):
            pass
    finally:
        docker("rm", container)


def test_lock_excludes_other_processes_until_its_holder_is_killed(
    project: compose.Project, clones: tuple[Path, Path]
) -> None:
    command = [sys.executable, "-c", HOLD, project.name, str(clones[0])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for _ in range(2):
            # Reading the holder does not acquire the lock.
            assert "`stackctl deploy` of" in lock.holder(project)
            with pytest.raises(StackctlError) as refused, lock.held(project, "up"):
                raise AssertionError("two hold the lock")
            assert "`stackctl up` was refused" in refused.value.problem
            assert f"process {other.pid}" in refused.value.problem
        other.send_signal(signal.SIGKILL)
    eventually(lambda: not lock.holder(project), seconds=10, what="the lock is free")
    with lock.held(project, "up"):
        pass
    assert lock.holder(project) == ""


def test_lock_of_an_aborted_start_can_be_acquired(
    project: compose.Project, clones: tuple[Path, Path]
) -> None:
    docker("create", "--name", lock.container_of(project), IMAGE)

    with lock.held(project, "up"):
        assert "`stackctl up` of" in lock.holder(project)


def test_record_of_an_earlier_version_moves_into_the_volume(
    project: compose.Project, clones: tuple[Path, Path]
) -> None:
    old = clones[0] / "var" / "stackctl" / project.name / "releases.jsonl"
    old.parent.mkdir(parents=True)
    line = json.dumps({name: getattr(entry("a"), name) for name in entry("a").__slots__})
    # A crash has truncated the last line.
    old.write_text(f'{line}\n{{"time": ')

    assert record.releases(project) == ["a"]
    with lock.held(project, "up"):
        assert not old.exists()
        record.append(project, entry("b"))
    assert [entry.release for entry in record.read(project)] == ["a", "b"]


def test_full_volume_leaves_the_record_unchanged(
    project: compose.Project, clones: tuple[Path, Path]
) -> None:
    """The volume has 16 KB, and exists while the lock mounts it."""
    small = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=16k")
    docker("volume", "create", *small, lock.volume_of(project))
    with lock.held(project, "up"):
        record.append(project, entry("a"))
        with pytest.raises(StackctlError, match="No space left"):
            record.append(project, entry("b" * 20_000))
        assert record.releases(project) == ["a"]
