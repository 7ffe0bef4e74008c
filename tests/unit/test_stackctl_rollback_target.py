"""Which release `stackctl rollback` without a name goes to after attempts that did not succeed."""

from collections.abc import Callable

import pytest

from tests.unit.scripted.stack import Stack, fails
from tests.unit.test_stackctl_cut_off import on_second_release, rollback


@pytest.fixture
def stack_on_third_release(scripted: Callable[[], Stack]) -> Stack:
    """Return a stack on its third release."""
    stack = on_second_release(scripted)
    assert stack.deploy("cccc").code == 0
    return stack


def test_rollback_that_failed_is_not_resumed(stack_on_third_release: Stack) -> None:
    stack = stack_on_third_release
    stack.behave("aaaa", becomes="unhealthy")
    assert stack.run("rollback", "aaaa").code == 3 and stack.serves("cccc")

    assert rollback(stack).code == 0

    assert stack.serves("bbbb")


def test_killed_rollback_is_not_resumed_after_a_deploy(stack_on_third_release: Stack) -> None:
    stack = stack_on_third_release
    stack.cut_off("kill", 10, lambda: stack.run("rollback", "aaaa"))
    assert stack.deploy("dddd").code == 0

    assert rollback(stack).code == 0

    assert stack.serves("cccc")


def test_killed_rollback_is_not_resumed_after_a_deploy_that_was_not_rolled_back(
    stack_on_third_release: Stack,
) -> None:
    stack = stack_on_third_release
    stack.cut_off("kill", 10, lambda: stack.run("rollback", "aaaa"))
    stack.behave("dddd", "worker", becomes="unhealthy")
    stack.faults["ready server1"] = fails("a fault of HAProxy")
    assert stack.deploy("dddd").code == 4
    stack.faults.clear()

    assert rollback(stack).code == 0

    assert stack.serves("cccc")
