"""What `stackctl heal` reports, and how soon `--watch` ends."""

import signal
from collections.abc import Callable
from functools import partial

import pytest

from tests.unit.scripted.model import Reply
from tests.unit.scripted.stack import Ended, Stack
from tests.unit.test_stackctl_heal import NO_ENGINE, hang, heal, watch


def test_signal_ends_a_long_pause_between_two_checks(stack: Stack) -> None:
    began = stack.clock.now

    ended = watch(stack, 5, "--seconds", "600")

    assert ended.code == 0 and stack.clock.now - began < 10


def test_each_outage_of_the_engine_is_reported_once(stack: Stack) -> None:
    def outage(begin: float, end: float) -> None:
        def fail(_: int) -> Reply:
            return Reply(1, err=NO_ENGINE)

        stack.clock.plan(begin, lambda: setattr(stack, "before", fail))
        stack.clock.plan(end, lambda: setattr(stack, "before", lambda _: None))

    outage(10, 40)
    outage(60, 90)

    ended = watch(stack, 120)

    assert ended.err.count(f"{NO_ENGINE}; the next check tries again") == 2


def heal_with_refused_restart(stack: Stack, seconds: float) -> Ended:
    hang(stack, "server1")
    stack.faults["restart server1"] = partial(Reply, 1, "", "cannot kill container")
    return watch(stack, seconds)


def test_pause_after_each_try_is_reported(stack: Stack) -> None:
    ended = heal_with_refused_restart(stack, 60)

    for number, pause in ((1, 10), (2, 20), (3, 40)):
        words = f"again soon after try {number}; the next one comes {pause} s after that"
        assert ended.err.count(words) == 1, ended.err
    assert ended.err.count("Z error: server1: cannot kill container") == 3


def test_restart_that_never_ends_is_given_up(stack: Stack) -> None:
    """The others are checked again then."""
    hang(stack, "server1")
    stack.takes["restart server1"] = 300
    stack.clock.plan(400, partial(signal.raise_signal, signal.SIGTERM))

    ended = stack.run("heal", "--json")

    assert ended.result["failed"] == ["server1"]
    assert "Z error: server1: `docker restart -t ...` did not end within 220 s" in ended.err


@pytest.mark.parametrize(
    ("cause", "result"),
    [
        (lambda stack: stack.end("worker"), "healed"),
        (lambda stack: stack.behave("aaaa", "worker", ends=True) or stack.end("worker"), "failed"),
        (lambda stack: setattr(stack.containers["redis"], "health", "unhealthy"), "left_alone"),
    ],
)
def test_heal_says_that_there_is_nothing_to_heal_only_where_that_is_so(
    stack: Stack, cause: Callable[[Stack], object], result: str
) -> None:
    cause(stack)

    ended = heal(stack)

    assert ended.result[result] and "nothing to heal" not in ended.err


def test_heal_watch_prints_each_check_that_healed_nothing(stack: Stack) -> None:
    stack.behave("aaaa", "worker", ends=True)
    stack.clock.plan(20, partial(stack.end, "worker"))

    first, _end = watch(stack, 28).out.splitlines()

    assert '"failed": ["worker"]' in first
