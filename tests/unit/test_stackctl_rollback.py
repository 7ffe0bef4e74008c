"""`stackctl rollback` from start to end: its target, its steps, and what it refuses."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.scripted.balancer import BACKENDS
from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import Killed, Stack, fails
from tests.unit.test_stackctl_deploy import server_steps
from tests.unit.test_stackctl_parts import container
from tools.stackctl.docker import compose, lock
from tools.stackctl.releases import record, release
from tools.stackctl.releases.deploy import release_before


@pytest.fixture
def stack_on_third_release(stack: Stack) -> Stack:
    """Return a stack on its third release."""
    for name in ("bbbb", "cccc"):
        assert stack.deploy(name).code == 0
    return stack


def test_rollback_replaces_one_server_at_a_time_and_does_not_migrate(
    stack_on_third_release: Stack,
) -> None:
    ended = stack_on_third_release.run("rollback", "--json")

    assert stack_on_third_release.steps == [
        *("lock rollback", "write releases started", "keep static bbbb", "ask server1"),
        *(*server_steps("server1", "bbbb"), *server_steps("server2", "bbbb")),
        *("name bbbb latest", "recreate worker bbbb", "name bbbb latest", "write releases ok"),
    ]
    assert stack_on_third_release.serves("bbbb") and stack_on_third_release.record()[-1] == (
        "rollback",
        "bbbb",
        "ok",
    )
    assert ended.result["action"] == "rollback" and ended.result["release"] == "bbbb"
    assert "back to bbbb; migrations are not undone" in ended.err

    assert stack_on_third_release.run("rollback").code == 0 and stack_on_third_release.serves(
        "aaaa"
    )


def test_rollback_skips_a_release_that_was_deployed_twice(stack_on_third_release: Stack) -> None:
    assert stack_on_third_release.deploy("cccc", "--force").code == 0

    assert stack_on_third_release.run("rollback").code == 0 and stack_on_third_release.serves(
        "bbbb"
    )


def test_lock_of_a_command_names_user_process_and_time(stack_on_third_release: Stack) -> None:
    seen: list[dict[str, str]] = []
    stack_on_third_release.at_step = lambda _: seen.extend(stack_on_third_release.locks.values())

    stack_on_third_release.run("rollback")

    assert {(one["command"], one["who"], one["process"]) for one in seen} == {
        ("rollback", lock.who(), str(os.getpid()))
    }
    began = datetime.strptime(seen[0]["since"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - began) < timedelta(minutes=5)


def test_rollback_goes_to_the_named_release(stack_on_third_release: Stack) -> None:
    assert stack_on_third_release.run(
        "rollback", "aaaa"
    ).code == 0 and stack_on_third_release.serves("aaaa")
    # There is no earlier release.
    ended = stack_on_third_release.run("rollback", "--json")
    assert ended.code == 1 and "no earlier release to go back to" in ended.result["error"]


def test_rollback_to_the_running_release_changes_nothing(stack_on_third_release: Stack) -> None:
    ended = stack_on_third_release.run("rollback", "cccc", "--json")

    assert ended.code == 0 and ended.result["changed"] is False
    assert stack_on_third_release.steps == ["lock rollback", "name cccc latest"]
    assert "every server runs cccc already" in ended.err


def test_rollback_to_a_release_that_never_served_is_refused(stack_on_third_release: Stack) -> None:
    stack_on_third_release.behave("dddd", becomes="unhealthy")
    stack_on_third_release.faults["remove image dddd"] = fails("it is in use")
    assert stack_on_third_release.deploy("dddd").code == 3

    for name in ("dddd", "nosuch"):
        ended = stack_on_third_release.run("rollback", name, "--json")
        assert ended.code == 2
        assert f"no image is left of a release {name!r} that served" in ended.result["error"]
        assert ended.result["next"] == "There are: cccc, bbbb, aaaa."
        assert stack_on_third_release.steps == ["lock rollback"] and stack_on_third_release.serves(
            "cccc"
        )


def test_failed_rollback_returns_to_the_running_release(stack_on_third_release: Stack) -> None:
    stack_on_third_release.behave("bbbb", "server2", becomes="unhealthy")

    ended = stack_on_third_release.run("rollback", "--json")

    assert ended.code == 3 and "rollback of bbbb failed: server2" in ended.result["error"]
    assert (
        stack_on_third_release.serves("cccc")
        and stack_on_third_release.record()[-1][2] == "rolled back"
    )


def test_rollback_can_be_repeated_to_a_release_that_failed(stack_on_third_release: Stack) -> None:
    stack_on_third_release.behave("bbbb", "server2", becomes="unhealthy")
    assert stack_on_third_release.run("rollback").code == 3
    stack_on_third_release.behave("bbbb", "server2")

    assert stack_on_third_release.run(
        "rollback", "bbbb"
    ).code == 0 and stack_on_third_release.serves("bbbb")


def test_interrupted_rollback_names_the_command_that_resumes_it(
    stack_on_third_release: Stack,
) -> None:
    ended = stack_on_third_release.cut_off(
        "interrupt", 8, lambda: stack_on_third_release.run("rollback", "--json")
    )

    assert ended is not None and ended.code == 130
    assert "./stackctl rollback bbbb resumes" in ended.result["next"]


def test_rollback_records_a_cut_off_deploy_when_the_previous_release_still_runs(
    stack_on_third_release: Stack,
) -> None:
    stack_on_third_release.cut_off("kill", 4, lambda: stack_on_third_release.deploy("dddd"))

    ended = stack_on_third_release.run("rollback", "--json")

    assert ended.code == 0 and ended.result["changed"] is False
    assert "the deploy of dddd did not complete; the release before it still serves" in ended.err
    assert stack_on_third_release.record()[-1] == ("rollback", "cccc", "ok")


@pytest.mark.parametrize("server", ["server1", "server2"])
def test_rollback_after_a_cut_off_deploy_returns_a_drained_server_to_service(
    stack_on_third_release: Stack, server: str
) -> None:
    """Every container runs the earlier release still, but one gets no request."""
    stack = stack_on_third_release

    def drain_and_die() -> None:
        stack.balancer.admin |= {(backend, server): "drain" for backend in BACKENDS}
        raise Killed

    stack.faults["ask server1"] = drain_and_die
    stack.deploy("dddd")
    stack.faults.clear()
    assert stack.balancer.drained() == {server} and set(stack.releases().values()) == {"cccc"}

    assert stack.run("rollback", "--json").code == 0

    assert not stack.balancer.drained() and stack.serves("cccc")


def test_images_of_the_5_latest_served_releases_are_kept(stack_on_third_release: Stack) -> None:
    for name in ("dddd", "eeee", "ffff"):
        ended = stack_on_third_release.deploy(name)

    assert "cleaning up: removed the image of aaaa; the 5 latest releases" in ended.err
    kept = {name.partition(":")[2] for name in stack_on_third_release.images}
    assert kept == {"latest", "bbbb", "cccc", "dddd", "eeee", "ffff"}


def test_deploy_succeeds_when_an_old_image_cannot_be_removed(stack_on_third_release: Stack) -> None:
    stack_on_third_release.deploy("dddd")
    stack_on_third_release.deploy("eeee")
    stack_on_third_release.faults["remove image aaaa"] = fails("conflict: it is in use")

    ended = stack_on_third_release.deploy("ffff")

    assert ended.code == 0 and "removed the image" not in ended.err


def test_releases_lists_every_attempt_once(stack_on_third_release: Stack) -> None:
    """With a killed deploy, and one release twice."""
    stack_on_third_release.cut_off("kill", 12, lambda: stack_on_third_release.deploy("dddd"))
    stack_on_third_release.deploy("eeee")
    stack_on_third_release.deploy("eeee", "--force")

    listed = stack_on_third_release.run("releases", "--json").result["releases"]

    assert [(entry["release"], entry["outcome"]) for entry in listed[:4]] == [
        *(("eeee", "ok"), ("eeee", "ok"), ("dddd", "started"), ("cccc", "ok"))
    ]


def test_record_of_an_earlier_version_is_moved_to_the_volume(stack: Stack) -> None:
    """It was a file in the clone; its last line is truncated."""
    old = stack.root / "var" / "stackctl" / NAME / "releases.jsonl"
    old.parent.mkdir(parents=True)
    line = {"time": "", "action": "deploy", "release": "aaaa", "image": "", "outcome": "ok"}
    old.write_text(json.dumps({**line, "who": ""}) + '\n{"time": "20')
    assert stack.run("releases", "--json").result["releases"][0]["release"] == "aaaa"
    assert old.exists()

    assert stack.deploy("bbbb").code == 0

    assert not old.parent.parent.exists()
    assert stack.run("rollback").code == 0 and stack.serves("aaaa")


def test_releases_lists_the_latest_first(stack_on_third_release: Stack) -> None:
    stack_on_third_release.behave("dddd", becomes="unhealthy")
    stack_on_third_release.deploy("dddd")

    listed = stack_on_third_release.run("releases", "--json").result

    assert listed["running"] == ["cccc"]
    assert [
        (e["action"], e["release"], e["outcome"], e["image_kept"]) for e in listed["releases"]
    ] == [
        ("deploy", "dddd", "rolled back", False),
        ("deploy", "cccc", "ok", True),
        ("deploy", "bbbb", "ok", True),
        ("compose", "aaaa", "ok", True),
    ]
    shown = stack_on_third_release.run("releases").out
    headings = ["time", "action", "release", "result", "seconds", "who", "image"]
    assert shown.splitlines()[1].split() == headings
    assert [(line.split()[2], line.split()[-1]) for line in shown.splitlines()[3:7]] == [
        *(("dddd", "gone"), ("cccc", "running"), ("bbbb", "kept"), ("aaaa", "kept"))
    ]


@pytest.mark.parametrize(
    ("history", "present", "target"),
    [
        ("deploy A, deploy B", "BB", "A"),
        ("deploy A, deploy B, deploy C, rollback B", "BB", "A"),
        ("deploy A, deploy B, deploy C, rollback B, deploy D", "DD", "B"),
        ("deploy A, deploy B, deploy C, rollback A, deploy D", "DD", "A"),
        ("deploy A, deploy B, deploy A", "AA", "B"),
        ("compose A, deploy B!", "AB", "A"),
        ("deploy A, deploy B, rollback A!", "AB", "A"),
        ("deploy A, deploy B, deploy C!, rollback A!", "CA", "A"),
        # When it was cut off, every server ran C, or none.
        ("deploy A, deploy B, deploy C!", "CC", "B"),
        ("deploy A, deploy B, deploy C!", "BB", "B"),
        ("deploy A, deploy B, deploy C!, rollback B", "BB", "A"),
        # Somebody started the release before by hand.
        ("deploy A, deploy B, deploy C", "BB", "A"),
        # The running release is not on record.
        ("deploy A, deploy B", "XX", "B"),
    ],
)
def test_rollback_goes_one_step_back_and_never_forward(
    monkeypatch: pytest.MonkeyPatch, history: str, present: str, target: str
) -> None:
    entries = [
        record.Entry("", action, name[0], "", "interrupted" if "!" in name else "ok", "")
        for action, name in (step.split() for step in history.split(", "))
    ]
    monkeypatch.setattr(record, "read", lambda _: entries)
    monkeypatch.setattr(release, "available", lambda _: dict.fromkeys("ABCDX", "sha256:1"))
    stack = compose.Project("p", "production", {"services": {"server1": {}, "server2": {}}})
    monkeypatch.setattr(
        compose.Project,
        "containers",
        lambda _: {
            f"server{number}": container(environ={"RELEASE": name})
            for number, name in enumerate(present, start=1)
        },
    )

    assert release_before(stack) == target
