"""`stackctl rollback`, run whole: which release it goes to, in what order, and what it refuses."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import Stack, fails
from tests.unit.test_stackctl_deploy import server_steps
from tests.unit.test_stackctl_parts import container
from tools.stackctl.docker import compose, lock
from tools.stackctl.releases import record, release
from tools.stackctl.releases.deploy import release_before


@pytest.fixture
def third(stack: Stack) -> Stack:
    """A stack on its third release."""
    for name in ("bbbb", "cccc"):
        assert stack.deploy(name).code == 0
    return stack


def test_rollback_replaces_one_server_at_a_time_and_does_not_migrate(third: Stack) -> None:
    ended = third.run("rollback", "--json")

    assert third.steps == [
        *("lock rollback", "write releases started", "keep static bbbb", "ask server1"),
        *(*server_steps("server1", "bbbb"), *server_steps("server2", "bbbb")),
        *("name bbbb latest", "recreate worker bbbb", "name bbbb latest", "write releases ok"),
    ]
    assert third.serves("bbbb") and third.record()[-1] == ("rollback", "bbbb", "ok")
    assert ended.result["action"] == "rollback" and ended.result["release"] == "bbbb"
    assert "back to bbbb; migrations are not undone" in ended.err

    assert third.run("rollback").code == 0 and third.serves("aaaa")


def test_a_release_that_was_deployed_twice_is_one_step_back(third: Stack) -> None:
    assert third.deploy("cccc", "--force").code == 0

    assert third.run("rollback").code == 0 and third.serves("bbbb")


def test_the_lock_and_the_record_say_who_and_when(third: Stack) -> None:
    seen: list[dict[str, str]] = []
    third.at_step = lambda _: seen.extend(third.locks.values())

    third.run("rollback")

    assert {(one["command"], one["who"], one["process"]) for one in seen} == {
        ("rollback", lock.who(), str(os.getpid()))
    }
    began = datetime.strptime(seen[0]["since"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - began) < timedelta(minutes=5)


def test_rollback_goes_to_the_release_that_is_named(third: Stack) -> None:
    assert third.run("rollback", "aaaa").code == 0 and third.serves("aaaa")
    # One step back from there is none.
    ended = third.run("rollback", "--json")
    assert ended.code == 1 and "no earlier release to go back to" in ended.result["error"]


def test_rollback_to_the_running_release_changes_nothing(third: Stack) -> None:
    ended = third.run("rollback", "cccc", "--json")

    assert ended.code == 0 and ended.result["changed"] is False
    assert third.steps == ["lock rollback", "name cccc latest"]
    assert "every server runs cccc already" in ended.err


def test_rollback_to_a_release_that_never_served_is_refused(third: Stack) -> None:
    third.behave("dddd", becomes="unhealthy")
    third.faults["remove image dddd"] = fails("it is in use")
    assert third.deploy("dddd").code == 3

    for name in ("dddd", "nosuch"):
        ended = third.run("rollback", name, "--json")
        assert ended.code == 2
        assert f"no image of a release {name!r} that served" in ended.result["error"]
        assert ended.result["next"] == "There are: cccc, bbbb, aaaa."
        assert third.steps == ["lock rollback"] and third.serves("cccc")


def test_rollback_to_a_release_that_fails_ends_on_the_running_one(third: Stack) -> None:
    third.behave("bbbb", "server2", becomes="unhealthy")

    ended = third.run("rollback", "--json")

    assert ended.code == 3 and "rollback of bbbb failed: server2" in ended.result["error"]
    assert third.serves("cccc") and third.record()[-1][2] == "rolled back"


def test_rollback_may_go_again_to_a_release_that_served_and_then_failed(third: Stack) -> None:
    third.behave("bbbb", "server2", becomes="unhealthy")
    assert third.run("rollback").code == 3
    third.behave("bbbb", "server2")

    assert third.run("rollback", "bbbb").code == 0 and third.serves("bbbb")


def test_an_interrupted_rollback_says_how_to_resume(third: Stack) -> None:
    ended = third.cut_off("interrupt", 8, lambda: third.run("rollback", "--json"))

    assert ended is not None and ended.code == 130
    assert "./stackctl rollback bbbb resumes" in ended.result["next"]


def test_a_rollback_that_finds_the_release_before_running_ends_the_cut_off_deploy(
    third: Stack,
) -> None:
    third.cut_off("kill", 4, lambda: third.deploy("dddd"))

    ended = third.run("rollback", "--json")

    assert ended.code == 0 and ended.result["changed"] is False
    assert "the deploy of dddd did not end; what served before it serves" in ended.err
    assert third.record()[-1] == ("rollback", "cccc", "ok")


def test_the_images_of_the_five_latest_releases_that_served_stay(third: Stack) -> None:
    for name in ("dddd", "eeee", "ffff"):
        ended = third.deploy(name)

    assert "removed the image of aaaa: not one of the 5 latest that served" in ended.err
    kept = {name.partition(":")[2] for name in third.images}
    assert kept == {"latest", "bbbb", "cccc", "dddd", "eeee", "ffff"}


def test_an_image_that_cannot_be_removed_fails_no_release(third: Stack) -> None:
    third.deploy("dddd")
    third.deploy("eeee")
    third.faults["remove image aaaa"] = fails("conflict: it is in use")

    ended = third.deploy("ffff")

    assert ended.code == 0 and "removed the image" not in ended.err


def test_releases_lists_every_attempt_once(third: Stack) -> None:
    """Also one that was killed, and the same release twice."""
    third.cut_off("kill", 12, lambda: third.deploy("dddd"))
    third.deploy("eeee")
    third.deploy("eeee", "--force")

    listed = third.run("releases", "--json").result["releases"]

    assert [(entry["release"], entry["outcome"]) for entry in listed[:4]] == [
        *(("eeee", "ok"), ("eeee", "ok"), ("dddd", "started"), ("cccc", "ok"))
    ]


def test_the_record_of_an_earlier_version_is_moved_to_the_stack(stack: Stack) -> None:
    """It was a file of the clone; a crash has cut its last line off."""
    old = stack.root / "var" / "stackctl" / NAME / "releases.jsonl"
    old.parent.mkdir(parents=True)
    line = {"time": "", "action": "deploy", "release": "aaaa", "image": "", "outcome": "ok"}
    old.write_text(json.dumps({**line, "who": ""}) + '\n{"time": "20')
    assert stack.run("releases", "--json").result["releases"][0]["release"] == "aaaa"
    assert old.exists()

    assert stack.deploy("bbbb").code == 0

    assert not old.parent.parent.exists()
    assert stack.run("rollback").code == 0 and stack.serves("aaaa")


def test_releases_lists_the_record_the_latest_first(third: Stack) -> None:
    third.behave("dddd", becomes="unhealthy")
    third.deploy("dddd")

    listed = third.run("releases", "--json").result

    assert listed["running"] == ["cccc"]
    assert [
        (e["action"], e["release"], e["outcome"], e["image_kept"]) for e in listed["releases"]
    ] == [
        ("deploy", "dddd", "rolled back", False),
        ("deploy", "cccc", "ok", True),
        ("deploy", "bbbb", "ok", True),
        ("found", "aaaa", "found", True),
    ]
    shown = third.run("releases").out
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
        ("found A, deploy B!", "AB", "A"),
        ("deploy A, deploy B, rollback A!", "AB", "A"),
        ("deploy A, deploy B, deploy C!, rollback A!", "CA", "A"),
        # Everything ran C when it was cut off, or nothing yet.
        ("deploy A, deploy B, deploy C!", "CC", "B"),
        ("deploy A, deploy B, deploy C!", "BB", "B"),
        ("deploy A, deploy B, deploy C!, rollback B", "BB", "A"),
        # Nothing on record says how it came there.
        ("deploy A, deploy B", "XX", "B"),
    ],
)
def test_a_rollback_goes_one_step_back_and_never_forward(
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
