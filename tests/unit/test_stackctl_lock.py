"""The lock, the owner and the record of a stack."""

import getpass
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import Ended, Stack, fails
from tests.unit.scripted.volume import VOLUME


def doctor(stack: Stack) -> dict[str, dict[str, str]]:
    """Return the checks of `doctor` by name."""
    return {check["name"]: check for check in stack.run("doctor", "--json").result["checks"]}


def drain(stack: Stack) -> Ended:
    return stack.run("drain", "server1", "--json")


def test_stackctl_volume_has_compose_labels_so_that_down_removes_it(stack: Stack) -> None:
    assert drain(stack).code == 0

    assert set(stack.volumes) == {VOLUME}
    assert stack.volume_labels == [
        f"com.docker.compose.project={NAME}",
        "com.docker.compose.volume=stackctl",
    ]


@pytest.mark.parametrize("command", ["doctor", "status", "releases"])
def test_reading_command_creates_no_volume_and_no_lock(stack: Stack, command: str) -> None:
    stack.run(command)
    assert stack.volumes == {} and stack.left == [] and stack.steps == []

    stack.deploy("bbbb")
    stack.volumes[VOLUME]["owner"] = "/elsewhere\n"
    stack.run(command)
    assert stack.left == [] and stack.steps == [] and not stack.locks


@pytest.mark.parametrize("command", ["deploy", "drain server1", "heal", "backup", "reload"])
def test_command_releases_its_lock_and_removes_its_container(stack: Stack, command: str) -> None:
    held: list[dict[str, str]] = []
    stack.at_step = lambda _: held.extend(dict(labels) for labels in stack.locks.values())
    stack.end("worker")

    stack.run(*command.split())

    assert held and {labels["command"] for labels in held} == {command}
    assert not stack.locks and stack.left == []


def test_lock_container_that_never_started_is_removed_unless_it_starts(
    stack: Stack,
) -> None:
    """Its container was created but does not run, so its holder is unknown."""
    name = f"{NAME}-stackctl"
    labels = {"command": "up", "who": "me@here", "since": "noon", "process": "7"}

    def starts() -> Reply:
        stack.locks[name] = labels
        return Reply(1, "", "cannot remove container: container is running")

    stack.locks[name] = {}
    stack.faults["remove the lock"] = starts
    ended = drain(stack)
    assert ended.code == 1 and "`stackctl up` of me@here is running" in ended.result["error"]

    stack.locks[name] = {}
    stack.faults["remove the lock"] = lambda: stack.locks.clear()
    assert drain(stack).code == 0


def test_doctor_reports_a_stack_of_another_folder_and_changes_nothing(stack: Stack) -> None:
    stack.volumes = {VOLUME: {"owner": "/elsewhere\n"}}

    owner = doctor(stack)["owner"]

    assert f"the stack {NAME} belongs to the folder /elsewhere" in owner["problem"]
    assert f"this is {stack.root}; nothing was changed" in owner["problem"]
    assert "another STACK_NAME" in owner["next"] and "./stackctl adopt" in owner["next"]
    assert stack.volumes == {VOLUME: {"owner": "/elsewhere\n"}}


@pytest.mark.parametrize("owner", ["", "here", "engine"])
def test_owner_folder_may_have_another_path_for_the_engine(stack: Stack, owner: str) -> None:
    """Docker Desktop mounts a host folder under another path, which is the owner."""
    stack.engine_root = "/host_mnt/project"
    text = {"": "", "here": f"{stack.root}\n", "engine": "/host_mnt/project\n"}[owner]
    stack.volumes = {VOLUME: {"owner": text}}

    assert "owner" not in doctor(stack)
    assert drain(stack).code == 0

    assert stack.volumes[VOLUME]["owner"] == "/host_mnt/project\n"
    assert ("write owner" in stack.steps) is (owner != "engine")


# Folders in the container labels of a stack without an owner, and the resulting owner.
LABELS: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "its own": (lambda root: [str(root)], ""),
    "a link to its own": (lambda root: [str(linked(root))], ""),
    "no container": (lambda _: [], ""),
    "without the label": (lambda _: [""], ""),
    "another": (lambda _: ["/elsewhere"], "/elsewhere"),
    "two others": (lambda _: ["/other", "/elsewhere", "/other"], "/elsewhere"),
    "its own and another": (lambda root: ["/elsewhere", str(root)], ""),
    "another and one without": (lambda _: ["/elsewhere", ""], ""),
}


def linked(root: Path) -> Path:
    """Return a link to the folder."""
    link = root / "link"
    link.symlink_to(root)
    return link


@pytest.mark.parametrize(("folders", "owner"), LABELS.values(), ids=LABELS)
def test_stack_started_by_compose_from_another_folder_is_refused(
    stack: Stack, folders: Callable[[Path], list[str]], owner: str
) -> None:
    stack.folders = folders(stack.root)

    checks = doctor(stack)
    assert ("owner" in checks) is bool(owner)
    ended = drain(stack)

    assert ended.code == (1 if owner else 0)
    if owner:
        assert f"belongs to the folder {owner}, and this is" in ended.result["error"]
        assert stack.balancer.up() == ["server1", "server2"] and not stack.volumes[VOLUME]
        assert owner in checks["owner"]["problem"]
    else:
        assert stack.volumes[VOLUME]["owner"] == f"{stack.root}\n"


def test_record_of_releases_has_only_its_entries(stack: Stack) -> None:
    for commit in ("bbbb", "cccc"):
        assert stack.deploy(commit).code == 0

    lines = stack.volumes[VOLUME]["releases.jsonl"].splitlines()
    assert [json.loads(line)["release"] for line in lines] == [
        *("aaaa", "bbbb", "bbbb", "cccc", "cccc")
    ]


@pytest.mark.parametrize("error", [None, KeyError, OSError])
def test_record_of_releases_names_the_user_and_the_host(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None
) -> None:
    """A user id without a name, as in a container, is shown as a number."""

    def user() -> str:
        if error:
            raise error
        return "ann"

    monkeypatch.setattr(getpass, "getuser", user)
    monkeypatch.setattr(socket, "gethostname", lambda: "host1")

    assert stack.deploy("bbbb").code == 0

    [*_, last] = stack.volumes[VOLUME]["releases.jsonl"].splitlines()
    assert json.loads(last)["who"] == f"{os.getuid() if error else 'ann'}@host1"


def test_record_names_who_sent_a_command_over_ssh(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKCTL_WHO", "ann@laptop")

    stack.deploy("bbbb")

    assert stack.run("releases", "--json").result["releases"][0]["who"] == "ann@laptop"


LINE = '{"time": "", "action": "deploy", "release": "aaaa", "image": "", "outcome": "ok"}\n'


@pytest.mark.parametrize("other", [False, True])
def test_record_of_an_earlier_version_is_moved_and_its_folder_removed(
    stack: Stack, other: bool
) -> None:
    folder = stack.root / "var" / "stackctl"
    for name in (NAME, "other")[: 1 + other]:
        (folder / name).mkdir(parents=True)
        (folder / name / "releases.jsonl").write_text(LINE)
        (folder / name / "lock").touch()

    assert drain(stack).code == 0

    assert stack.volumes[VOLUME]["releases.jsonl"] == LINE
    assert not (folder / NAME).exists() and (folder / "other" / "lock").exists() is other
    assert folder.exists() is other


def test_command_without_a_place_for_its_owner_changes_nothing(stack: Stack) -> None:
    stack.faults["write owner"] = fails("No space left on device")

    ended = drain(stack)

    assert ended.code == 1 and stack.steps == ["lock drain server1", "write owner"]
    assert ended.result["error"].startswith(f"volume {VOLUME}: No space left on device")
    assert not stack.locks
