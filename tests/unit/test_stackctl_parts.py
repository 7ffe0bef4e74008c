"""Parts of stackctl that need no engine: release names, record, server states, retries."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tree import ROOT
from tests.unit.conftest import Kept
from tools.stackctl.balancer import haproxy
from tools.stackctl.checks.state import ServerState, judge
from tools.stackctl.common import process
from tools.stackctl.common.faults import StackctlError, UsageError
from tools.stackctl.docker import compose, engine
from tools.stackctl.docker.engine import Container, version_numbers
from tools.stackctl.releases import record, release


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty project root."""
    monkeypatch.setattr(process, "ROOT", tmp_path)
    return tmp_path


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Tester", "-c", "user.email=tester@example.com")
    return subprocess.run(
        ["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(root: Path) -> Path:
    """Return a git repository with one commit."""
    git(root, "init", "--quiet")
    (root / "file").write_text("one\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "one")
    return root


def test_release_name_is_the_commit(repository: Path) -> None:
    name = release.from_git()

    assert name == release.Name(git(repository, "rev-parse", "--short=12", "HEAD"))


def test_release_name_of_a_dirty_tree_depends_on_its_content(repository: Path) -> None:
    clean = release.from_git().text
    (repository / "file").write_text("two\n")
    changed = release.from_git()
    (repository / "new").write_text("three\n")
    added = release.from_git()
    (repository / "new").write_text("four\n")
    other = release.from_git()

    assert changed.dirty and re.fullmatch(rf"{clean}-dirty-[0-9a-f]{{8}}", changed.text)
    assert len({clean, changed.text, added.text, other.text}) == 4
    assert release.NAME.fullmatch(other.text)
    (repository / "new").unlink()
    git(repository, "checkout", "--quiet", "file")
    assert release.from_git() == release.Name(clean)
    # Files that git ignores are in no image.
    (repository / ".git" / "info" / "exclude").write_text("new\n")
    (repository / "new").write_text("five\n")
    assert release.from_git() == release.Name(clean)


def test_release_name_of_a_change_is_the_same_after_git_add(repository: Path) -> None:
    """Named as the clean commit, it would replace that commit's image."""
    (repository / "file").write_text("two\n")
    changed = release.from_git()
    git(repository, "add", "file")
    assert changed.dirty and release.from_git() == changed

    git(repository, "checkout", "--quiet", "HEAD", "file")
    (repository / "new").write_text("three\n")
    git(repository, "add", "new")
    assert release.from_git().dirty


def test_release_name_of_a_dirty_tree_supports_broken_links(repository: Path) -> None:
    names = []
    for target in ("..", "/nowhere"):
        link = repository / ".venv"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        names.append(release.from_git())

    assert names[0].dirty and names[0] != names[1]


def test_release_name_without_git_is_requested(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))

    with pytest.raises(StackctlError) as refused:
        release.from_git()

    assert refused.value.problem.startswith("git cannot say which commit this is: fatal: not a git")
    assert "--release NAME" in refused.value.hint


@pytest.mark.parametrize("text", ["", "latest", "-x", "a b", "a/b", "x" * 129])
def test_release_name_that_is_no_valid_tag_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        release.named(text)
    assert release.named("v1.2_a-b") == release.Name("v1.2_a-b")


def entry(name: str, outcome: str = "ok") -> record.Entry:
    return record.Entry(
        "2030-01-01T00:00:00Z", "deploy", name, f"sha256:{name}", outcome, "me@here"
    )


def test_record_lists_served_releases_latest_first() -> None:
    for name, outcome in (("a", "ok"), ("b", "ok"), ("c", "rolled back"), ("a", "ok")):
        record.append(fake_project(), entry(name, outcome))

    assert record.releases(fake_project()) == ["a", "b"]
    assert [line.release for line in record.read(fake_project())] == ["a", "b", "c", "a"]


def test_record_names_the_start_by_compose_that_earlier_versions_called_found(kept: Kept) -> None:
    record.append(fake_project(), record.Entry("", "found", "a", "", "found", ""))

    (started,) = record.read(fake_project())

    assert (started.action, started.outcome, started.served) == ("compose", "ok", True)


def test_record_skips_a_truncated_line(kept: Kept) -> None:
    record.append(fake_project(), entry("a"))
    kept.records["project"] += '{"time": "2030\n'
    record.append(fake_project(), entry("b"))

    assert [line.release for line in record.read(fake_project())] == ["a", "b"]


def test_prune_removes_only_old_recorded_unused_images(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        record.append(fake_project(), entry(f"r{number}"))
    record.append(fake_project(), entry("bad", "rolled back"))
    removed: list[str] = []
    images = {name: name for name in (*(f"r{n}" for n in range(8)), "bad", "foreign")}
    project = fake_project()
    monkeypatch.setattr(release, "available", lambda _: images)

    def untag(name: str) -> bool:
        removed.append(name)
        return True

    monkeypatch.setattr(release.engine, "untag", untag)
    monkeypatch.setattr(release.engine, "containers", lambda _: [container(image="r1")])
    monkeypatch.setattr(release.engine, "image_id", lambda _: "r2")

    assert sorted(release.prune(project)) == ["bad", "r0"]
    assert sorted(removed) == ["fake-local:bad", "fake-local:r0"]


def fake_project() -> compose.Project:
    services = {
        "base": {"image": "fake-base", "scale": 0},
        "migrate": {"image": "fake-local"},
        "env-check": {"image": "fake-local"},
        "server10": {"image": "fake-local"},
        "server2": {"image": "fake-local", "environment": {"A": "a$$b", "B": None}},
        "worker": {"image": "fake-local"},
        "haproxy": {"image": "haproxy:3.0"},
    }
    return compose.Project("project", "local", {"name": "project", "services": services})


def test_compose_project_lists_its_servers_and_workers() -> None:
    project = fake_project()

    assert project.servers == ["server2", "server10"]
    assert project.workers == ["worker"]
    assert project.latest == "fake-local:latest"
    assert project.environment("server2") == {"A": "a$b"}


def container(**changes: object) -> Container:
    facts = {
        "id": "1",
        "name": "server1",
        "service": "server1",
        "image": "sha256:1",
        "running": True,
        "status": "running",
        "health": "healthy",
        "restarts": 0,
        "started": "",
        "addresses": dict[str, str](),
        "config_hash": "",
        "published": frozenset[int](),
        "environ": dict[str, str](),
    }
    return Container(**{**facts, **changes})  # type: ignore[arg-type]


def balanced(status: str, sessions: int = 0) -> haproxy.BalancedServer:
    by_hand = status in ("DRAIN", "MAINT")
    return haproxy.BalancedServer(
        *("server1", status, "L7OK", "10.0.0.1", sessions, 0, 0, 0), drained_by_hand=by_hand
    )


@pytest.mark.parametrize(
    ("facts", "balancer", "state"),
    [
        ({}, balanced("UP", 3), ServerState.READY),
        ({}, balanced("UP 1/2", 3), ServerState.READY),
        ({}, balanced("DRAIN", 1), ServerState.DRAINING),
        ({}, balanced("DRAIN"), ServerState.DRAINED),
        ({}, replace(balanced("DRAIN"), queued=1), ServerState.DRAINING),
        ({"status": "paused"}, balanced("UP"), ServerState.FAILED),
        ({}, balanced("MAINT"), ServerState.DRAINED),
        ({}, balanced("NOLB", 1), ServerState.DRAINING),
        ({}, balanced("DOWN"), ServerState.HEALTHY),
        ({}, None, ServerState.HEALTHY),
        ({"health": "starting"}, balanced("DOWN"), ServerState.STARTING),
        ({"health": "unhealthy"}, balanced("DRAIN"), ServerState.FAILED),
        ({"running": False, "status": "restarting"}, balanced("DOWN"), ServerState.FAILED),
        ({"running": False, "status": "exited"}, balanced("DOWN"), ServerState.STOPPED),
    ],
)
def test_server_state_combines_container_and_haproxy_state(
    facts: dict[str, object], balancer: haproxy.BalancedServer | None, state: ServerState
) -> None:
    assert judge(container(**facts), balancer) is state


def test_server_without_a_container_is_stopped() -> None:
    assert judge(None, balanced("DOWN")) is ServerState.STOPPED


def test_haproxy_sessions_are_summed_over_all_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = "hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other"
    table = (
        f"# pxname,svname,qcur,scur,slim,status,check_status,{codes},addr\n"
        "dynamic_backend,server1,1,2,2,UP,* L7OK,0,7,0,1,2,0,172.18.0.3:7999\n"
        "dynamic_backend,BACKEND,0,2,,UP,,0,7,0,1,2,0,\n"
        "static_backend,server1,0,4,,UP,,0,0,0,0,0,0,172.18.0.3:7999\n\n1\n"
    )
    monkeypatch.setattr(haproxy.Balancer, "command", lambda *_: table)

    servers = haproxy.Balancer("id").servers()

    assert list(servers) == ["server1"]
    server = servers["server1"]
    assert (server.sessions, server.queued, server.answers, server.errors) == (6, 1, 10, 2)
    assert (server.address, server.check, server.limit) == ("172.18.0.3", "L7OK", 2)


def test_server_is_up_only_if_every_haproxy_backend_has_it_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes = "hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other"
    table = (
        f"# pxname,svname,qcur,scur,slim,status,check_status,{codes},addr\n"
        "dynamic_backend,server1,0,0,2,UP,L7OK,0,0,0,0,0,0,172.18.0.3:7999\n"
        "static_backend,server1,0,0,,DOWN 1/2,L7OK,0,0,0,0,0,0,172.18.0.3:7999\n\n1\n"
    )
    monkeypatch.setattr(haproxy.Balancer, "command", lambda *_: table)

    assert not haproxy.Balancer("id").servers()["server1"].up


def test_ready_sets_maxconn_so_that_the_server_serves_its_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output: list[str] = []

    def command(_: haproxy.Balancer, *lines: str) -> str:
        output.extend(lines)
        return ""

    monkeypatch.setattr(haproxy.Balancer, "command", command)
    back = haproxy.BalancedServer("server1", "UP", "L7OK", "172.18.0.3", 0, 0, 0, 0, limit=2)
    monkeypatch.setattr(haproxy.Balancer, "servers", lambda _: {"server1": back})

    haproxy.Balancer("id").ready("server1")

    assert output == [
        "set server dynamic_backend/server1 state ready",
        "set server static_backend/server1 state ready",
        "set maxconn server dynamic_backend/server1 2",
    ]


MOVED = "IP changed from '172.18.0.3' to '172.18.0.9' by 'stats socket command'\n\n"
NO_BACKEND = "No such backend.\n\n"


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        (3 * MOVED + 2 * NO_BACKEND, False),
        (4 * MOVED + NO_BACKEND, False),
        (3 * MOVED + NO_BACKEND + MOVED, False),
        (5 * MOVED, False),
        (2 * MOVED + 3 * NO_BACKEND, True),
        (2 * MOVED + NO_BACKEND + 2 * MOVED, True),
        (3 * MOVED + "No such server.\n\n" + NO_BACKEND, True),
    ],
)
def test_server_is_moved_in_the_optional_backends_that_there_are(
    monkeypatch: pytest.MonkeyPatch, answer: str, refused: bool
) -> None:
    output: list[str] = []

    def command(_: haproxy.Balancer, *lines: str) -> str:
        output.extend(lines)
        return answer

    monkeypatch.setattr(haproxy.Balancer, "command", command)

    if refused:
        with pytest.raises(StackctlError, match="refused to set server1"):
            haproxy.Balancer("id").move("server1", "172.18.0.9")
    else:
        haproxy.Balancer("id").move("server1", "172.18.0.9")

    assert output[3:] == [
        "set server slow_backend/server1 addr 172.18.0.9",
        "set server stream_backend/server1 addr 172.18.0.9",
    ]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("2.40.3-3", (2, 40, 3)), ("v2.30.0", (2, 30, 0)), ("28.5.2+dfsg4", (28, 5, 2)), ("x", ())],
)
def test_version_numbers_are_parsed_from_docker_versions(
    text: str, numbers: tuple[int, ...]
) -> None:
    assert version_numbers(text) == numbers


def test_stackctl_launcher_refuses_an_old_python(tmp_path: Path) -> None:
    """An old Python could not parse the package itself."""
    (tmp_path / "requirements").mkdir()
    for name in ("stackctl", "requirements/install", "requirements/stackctl.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
        (tmp_path / name).chmod(0o755)
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" != --version ] || { echo Python 3.9.2; exit 0; }\nexit 1\n')
    old.chmod(0o755)

    result = subprocess.run(
        [tmp_path / "stackctl", "status"],
        env={"PATH": os.environ["PATH"], "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert "Python 3.9.2 is too old: 3.11 or newer is needed" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_json_of_an_error_has_its_next_step(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tools.stackctl", "status", "--json"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    output = json.loads(result.stdout)
    assert output["code"] == result.returncode == 1
    assert "not installed" in output["error"] and output["next"]


ENGINE_DOWN = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
NO_CONTAINER = "Error response from daemon: No such container: one"


def answers(monkeypatch: pytest.MonkeyPatch, *errors: str) -> list[str]:
    """Make each docker call fail with the next error; return the remaining errors."""
    remaining = list(errors)
    monkeypatch.setattr(engine, "RETRY_SECONDS", 0)
    monkeypatch.setattr(
        process, "run", lambda *_, **__: process.Result(1, "[]\n", remaining.pop(0))
    )
    return remaining


@pytest.mark.parametrize("ask", [engine.inspect, engine.image_id])
def test_docker_command_is_retried_when_the_engine_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], object]
) -> None:
    remaining = answers(monkeypatch, ENGINE_DOWN, "", NO_CONTAINER)

    assert not ask("one")
    assert not remaining


@pytest.mark.parametrize("ask", [engine.inspect, engine.image_id])
def test_engine_that_does_not_answer_is_an_error_and_no_missing_object(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], object]
) -> None:
    answers(monkeypatch, *[ENGINE_DOWN] * 3)

    with pytest.raises(StackctlError, match="Cannot connect to the Docker daemon"):
        ask("one")
