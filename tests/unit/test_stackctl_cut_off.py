"""Deploys, rollbacks and rotations that are cut off at every step; the next command resumes.

Each test repeats a command, and interrupts, kills or refuses it at another step each time.
"""

import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.unit.scripted.engine import APPLICATION
from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import IMAGE
from tests.unit.scripted.stack import Ended, Stack, interrupts

Make = Callable[[], Stack]
# KiB: enough to start all servers next to the present ones.
MEMORY = 8_000_000
NO_ENGINE = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."


@pytest.fixture(params=["next to it", "in place"])
def make(request: pytest.FixtureRequest, scripted: Make) -> Make:
    """Return a function that creates a stack whose servers are replaced in one of the two ways."""

    def make() -> Stack:
        stack = scripted()
        stack.replicas.available = MEMORY if request.param == "next to it" else 0
        return stack

    return make


def each_call(
    make: Make, action: Callable[[int, int], Reply | None], every: int
) -> Iterator[tuple[int, Stack, Ended]]:
    """Deploy once for each engine call of a deploy, with the action before that call."""
    stack = make()
    stack.deploy("bbbb")
    for number in range(1, len(stack.calls) + 1, 2 * every):
        stack = make()
        stack.before = partial(action, number)
        yield number, stack, stack.deploy("bbbb")
        stack.before = lambda _: None


WAYS = ("interrupt", "kill", "crash")


def each_step(make: Make, command: Callable[[Stack], Ended], how: str, every: int) -> range:
    """Return step numbers of a command, in a stack that was on `aaaa` and is on `bbbb`.

    Each way to cut off uses different steps.
    """
    stack = on_second_release(make)
    command(stack)
    return range(WAYS.index(how), len(stack.steps), 2 * every)


def on_second_release(make: Make) -> Stack:
    stack = make()
    stack.deploy("bbbb")
    assert stack.serves("bbbb")
    return stack


def rollback(stack: Stack) -> Ended:
    return stack.run("rollback", "--json")


def deploy(stack: Stack) -> Ended:
    return stack.deploy("cccc")


def test_deploy_interrupted_at_any_call_leaves_every_server_in_service(make: Make) -> None:
    def action(number: int, now: int) -> None:
        if now == number:
            interrupts()

    before = signal.getsignal(signal.SIGINT)
    codes = set()
    for number, stack, ended in each_call(make, action, 8):
        codes.add(ended.code)
        what = (number, ended, stack.releases())
        assert not stack.balancer.drained() and not stack.locks, what
        assert set(stack.releases().values()) <= {"aaaa", "bbbb"}, what
        if ended.code == 130:
            assert "interrupted" in ended.result["error"] and ended.result["code"] == 130, what
            assert stack.images[f"{IMAGE}:latest"] == "sha256:aaaa", what
        else:
            # Too late: the last server is already being replaced.
            assert ended.code == 0 and stack.serves("bbbb"), what
    assert codes == {0, 130}
    assert signal.getsignal(signal.SIGINT) == before


def test_deploy_survives_any_call_that_fails_once(make: Make) -> None:
    def action(number: int, now: int) -> Reply | None:
        return Reply(1, "", NO_ENGINE) if now == number else None

    codes = set()
    for number, stack, ended in each_call(make, action, 5):
        codes.add(ended.code)
        what = (number, ended, stack.releases(), stack.record() if stack.volumes else None)
        assert stack.serves("bbbb" if ended.code == 0 else "aaaa"), what
        assert "Traceback" not in ended.err and not stack.locks, what
        if ended.code:
            assert ended.result["error"] and ended.result["next"], what
    assert codes == {0, 1, 3}


def test_deploy_without_an_engine_from_any_call_on_is_repaired_by_the_next_command(
    make: Make,
) -> None:
    def action(number: int, now: int) -> Reply | None:
        return Reply(1, "", NO_ENGINE) if now >= number else None

    for number, stack, ended in each_call(make, action, 11):
        what = (number, ended)
        assert ended.code in (0, 1, 4) and "Traceback" not in ended.err, what
        if ended.code == 4:
            assert ended.result["next"].startswith("the running releases are unknown"), what
        stack.before = lambda _: None
        repaired = stack.run("rollback", "aaaa", "--json") if number % 2 else stack.deploy("bbbb")
        assert repaired.code == 0, (what, repaired)
        assert stack.serves("aaaa" if number % 2 else "bbbb"), (what, repaired)


@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_rollback_restores_what_served_before_a_deploy_cut_off_at_any_step(
    make: Make, how: str
) -> None:
    for step in each_step(make, deploy, how, 4):
        stack = on_second_release(make)
        ended = stack.cut_off(how, step, partial(stack.deploy, "cccc"))
        begun, whole = stack.record()[-1][1] == "cccc", stack.record()[-1][2] == "ok"
        what = (step, stack.releases(), ended)

        assert rollback(stack).code == 0, what
        assert stack.serves("bbbb" if begun else "aaaa"), what
        if begun and not whole:
            rollback(stack)
            assert stack.serves("aaaa"), what


@pytest.mark.parametrize("how", ["interrupt", "kill", "crash"])
def test_deploy_resumes_a_deploy_interrupted_or_killed_at_any_step(make: Make, how: str) -> None:
    for step in each_step(make, deploy, how, 6):
        stack = on_second_release(make)
        ended = stack.cut_off(how, step, partial(stack.deploy, "cccc"))
        what = (step, stack.releases(), ended)
        if how == "crash":
            assert stack.serves("bbbb") or stack.serves("cccc"), what

        assert stack.deploy("cccc").code == 0, what
        assert stack.serves("cccc") and stack.record()[-1][2] in ("ok", "unchanged"), what
        rollback(stack)
        assert stack.serves("bbbb"), what


@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_rollback_resumes_a_rollback_interrupted_or_killed_at_any_step(
    make: Make, how: str
) -> None:
    """A rollback of a complete deploy, and one of a killed deploy."""
    for step in each_step(make, rollback, how, 4):
        stack = on_second_release(make)
        half_way = step % 8 > 3
        if half_way:
            stack.cut_off("kill", 18, partial(stack.deploy, "cccc"))
            assert set(stack.releases().values()) == {"bbbb", "cccc"}
        stack.cut_off(how, step, partial(rollback, stack))
        what = (step, stack.releases(), stack.record())

        if (stack.record()[-1][0], stack.record()[-1][2]) != ("rollback", "ok"):
            assert rollback(stack).code == 0, what
        assert stack.serves("bbbb" if half_way else "aaaa"), what


@pytest.mark.parametrize("later", ["interrupt", "kill", "crash"])
def test_rollback_resumes_after_a_killed_rollback_and_a_cut_off_deploy(
    make: Make, later: str
) -> None:
    for step in each_step(make, deploy, later, 8):
        stack = on_second_release(make)
        stack.cut_off("kill", 10, partial(rollback, stack))
        assert {c.environ["RELEASE"] for c in stack.all() if c.service in APPLICATION} == {
            "aaaa",
            "bbbb",
        }
        stack.cut_off(later, step, partial(stack.deploy, "cccc"))
        done = stack.record()[-1][2] == "ok"

        rollback(stack)

        assert stack.serves("bbbb" if done else "aaaa"), (step, stack.record())


def rotate(stack: Stack) -> Ended:
    return stack.run("rotate", "secret-key", "--json")


@pytest.mark.parametrize(
    ("resume", "release"), [(rotate, "bbbb"), (deploy, "cccc"), (rollback, "aaaa")]
)
@pytest.mark.parametrize("how", WAYS)
def test_next_command_completes_a_rotation_cut_off_at_any_step(
    make: Make, how: str, resume: Callable[[Stack], Ended], release: str
) -> None:
    for step in each_step(make, rotate, how, 9):
        stack = on_second_release(make)
        stack.cut_off(how, step, partial(rotate, stack))

        ended = resume(stack)

        assert ended.code == 0 and stack.serves(release), (step, ended, stack.record())
