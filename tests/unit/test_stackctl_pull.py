"""`stackctl deploy --pull`: the same commit on fresh images, under a name of its own."""

from collections.abc import Callable

import pytest

from tests.unit.scripted.stack import Stack, fails, interrupts
from tools.stackctl.docker import lock

REBUILT = "aaaa-20300101-000000"
BASE = "debian:trixie-slim"


@pytest.fixture
def prepared(scripted: Callable[[], Stack], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Stack]:
    """Return a function that creates a stack, whose Dockerfile has a base image."""
    monkeypatch.setattr(lock, "now", lambda: "2030-01-01T00:00:00Z")

    def create() -> Stack:
        stack = scripted()
        (stack.root / "Dockerfile").write_text(f"FROM {BASE} AS base\nFROM base AS final\n")
        stack.registry[BASE] = "sha256:debian"
        return stack

    return create


@pytest.fixture
def updated(prepared: Callable[[], Stack]) -> Stack:
    """Return a stack, whose Dockerfile has a base image."""
    return prepared()


def test_deploy_with_pull_releases_the_same_commit_under_another_name(updated: Stack) -> None:
    ended = updated.deploy("aaaa", "--pull")

    assert ended.code == 0 and ended.result["release"] == REBUILT
    assert updated.serves(REBUILT)
    pulled = updated.steps.index(f"pull {BASE}")
    assert updated.steps[pulled + 1] == f"build {REBUILT} without cache"
    assert not any(step.startswith("pull base") for step in updated.steps)


def test_commit_keeps_the_name_of_its_last_build(updated: Stack) -> None:
    updated.deploy("aaaa", "--pull")

    ended = updated.deploy("aaaa")

    assert ended.result["changed"] is False and "nothing to do" in ended.err
    assert updated.serves(REBUILT)


def test_next_commit_has_its_own_name(updated: Stack) -> None:
    updated.deploy("aaaa", "--pull")

    assert updated.deploy("bbbb").code == 0
    assert updated.serves("bbbb") and "build bbbb" in updated.steps


def test_rollback_goes_to_the_build_before_and_deploy_forward_again(updated: Stack) -> None:
    updated.deploy("aaaa", "--pull")

    assert updated.run("rollback").code == 0
    assert updated.serves("aaaa")

    assert updated.deploy("aaaa").result["release"] == REBUILT
    assert updated.serves(REBUILT)


@pytest.mark.parametrize("step", [f"pull {BASE}", f"build {REBUILT} without cache"])
def test_pull_or_build_that_fails_changes_nothing(updated: Stack, step: str) -> None:
    updated.faults[step] = fails("no such host")

    ended = updated.deploy("aaaa", "--pull")

    assert ended.code == 1 and "nothing was changed" in ended.err and updated.serves("aaaa")
    # No image has that name, so the commit keeps the one that it has.
    assert updated.deploy("aaaa").result["changed"] is False
    assert updated.serves("aaaa")


def test_interrupted_pull_changes_nothing(updated: Stack) -> None:
    updated.faults[f"pull {BASE}"] = interrupts

    ended = updated.deploy("aaaa", "--pull")

    assert ended.code == 130 and "nothing was changed" in ended.err and updated.serves("aaaa")


def test_rebuilt_release_that_fails_is_rolled_back(updated: Stack) -> None:
    updated.behave(REBUILT, ends=True)

    assert updated.deploy("aaaa", "--pull").code == 3
    assert updated.serves("aaaa")


@pytest.mark.parametrize("how", ["interrupt", "kill", "crash"])
def test_deploy_resumes_a_rebuilt_release_that_was_cut_off(
    prepared: Callable[[], Stack], how: str
) -> None:
    example = prepared()
    example.deploy("aaaa", "--pull")
    step = example.steps.index(f"recreate server2 {REBUILT}")
    stack = prepared()

    stack.cut_off(how, step, lambda: stack.deploy("aaaa", "--pull"))
    stack.release_lock()
    ended = stack.deploy("aaaa")

    assert ended.code == 0 and stack.serves(REBUILT)
    assert stack.run("rollback").code == 0 and stack.serves("aaaa")


def test_release_with_a_given_name_keeps_it(updated: Stack) -> None:
    assert updated.run("deploy", "--pull", "--release", "mine").code == 0
    assert updated.serves("mine")


def test_pull_is_for_builds(updated: Stack) -> None:
    ended = updated.run("deploy", "--pull", "--image", f"shop@sha256:{'c' * 64}")

    assert ended.code == 2 and "make push" in ended.err


def test_missing_dockerfile_is_named(updated: Stack) -> None:
    (updated.root / "Dockerfile").unlink()

    ended = updated.deploy("aaaa", "--pull")

    assert ended.code == 1 and "Dockerfile" in ended.err and updated.serves("aaaa")
