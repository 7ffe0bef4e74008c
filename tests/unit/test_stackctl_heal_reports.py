"""What `stackctl heal --watch` reports, and how soon it ends."""

import signal
from functools import partial

from tests.unit.scripted.model import Reply
from tests.unit.scripted.stack import Ended, Stack
from tests.unit.test_stackctl_heal import NO_ENGINE, hang, watch


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
