"""Deploys that are cut off at one moment: every server serves, and what the command says."""

import signal
from collections.abc import Callable
from functools import partial

import pytest

from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import IMAGE
from tests.unit.scripted.stack import Ended, Stack, fails, interrupts
from tests.unit.test_stackctl_cut_off import NO_ENGINE, Make, on_second_release, rollback


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_deploy_reports_the_release_of_each_server(stack: Stack, number: int) -> None:
    stack.data.migrations["bbbb"] = ["shop.0002"]
    stack.faults["ask server1"] = lambda: signal.raise_signal(number)

    ended = stack.deploy("bbbb")

    # The first health check precedes any change to a server.
    assert ended.code == 130
    assert "server1 runs aaaa, server2 runs aaaa, worker runs aaaa" in ended.result["error"]

    stack.faults = {"ready server1": lambda: signal.raise_signal(number)}
    ended = stack.deploy("bbbb")

    assert "interrupted: stopping as soon as every server is in service again" in ended.err
    assert ended.result["error"] == (
        "interrupted; server1 runs bbbb, server2 runs aaaa, worker runs aaaa"
    )
    assert "Every server is in service. ./stackctl deploy resumes" in ended.result["next"]
    assert "./stackctl rollback goes back" in ended.result["next"]
    assert stack.record()[-1] == ("deploy", "bbbb", "interrupted")
    assert stack.balancer.up() == ["server1", "server2"]
    # `docker compose up` would start the same release as before.
    assert stack.images[f"{IMAGE}:latest"] == "sha256:aaaa"
    assert "drain server2" not in stack.steps


def test_interrupted_drain_of_a_deploy_returns_the_server_to_service(stack: Stack) -> None:
    stack.balancer.requests = {"server1": [stack.clock.now + 9000.0]}
    stack.faults["drain server1"] = interrupts

    ended = stack.deploy("bbbb")

    assert ended.code == 130
    assert stack.steps[-4:-1] == ["drain server1", "ready server1", "name aaaa latest"]
    assert stack.serves("aaaa")


def test_interrupt_does_not_stop_the_rollback_of_a_bad_release(stack: Stack) -> None:
    stack.behave("bbbb", "server2", becomes="unhealthy")
    for step in ("recreate server2 bbbb", "recreate server2 aaaa", "recreate server1 aaaa"):
        stack.faults[step] = interrupts

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and stack.serves("aaaa")


def test_deploy_interrupted_before_migrating_changes_nothing(stack: Stack) -> None:
    stack.data.migrations["bbbb"] = ["shop.0002"]
    stack.faults["lint migrations"] = interrupts

    ended = stack.deploy("bbbb")

    assert ended.code == 130
    assert ended.result["error"] == "interrupted before migrating; nothing was changed"
    assert stack.data.applied == ["shop.0001"] and stack.serves("aaaa")


@pytest.mark.parametrize("server", ["server1", "server2"])
def test_server_that_haproxy_drained_in_one_backend_only_is_put_back(
    stack: Stack, server: str
) -> None:
    def drain_and_fail() -> Reply:
        stack.balancer.admin["dynamic_backend", server] = "drain"
        return Reply(out="a fault of HAProxy")

    stack.faults[f"drain {server}"] = drain_and_fail

    assert stack.deploy("bbbb").code in (3, 4)
    assert not stack.balancer.drained()


@pytest.mark.parametrize("service", ["server1", "server2", "worker"])
def test_automatic_rollback_continues_after_a_service_that_fails(
    stack: Stack, service: str
) -> None:
    stack.behave("bbbb", "worker", becomes="unhealthy")
    stack.faults[f"recreate {service} aaaa"] = fails("no space left on device")

    ended = stack.deploy("bbbb")

    assert ended.code == ended.result["code"] == 4
    assert "deploy of bbbb failed (worker: it is unhealthy)" in ended.result["error"]
    assert f"{service}: compose could not start it" in ended.result["error"]
    others = {name: "aaaa" for name in ("server1", "server2", "worker") if name != service}
    assert {k: v for k, v in stack.releases().items() if k != service} == others
    assert "./stackctl rollback RELEASE" in ended.result["next"]
    assert f"{next(iter(others))} runs aaaa" in ended.result["next"]
    assert f"Z error: {service}: compose could not start it" in ended.err
    if service != "worker":
        # Before the next server is drained.
        after = stack.steps[stack.steps.index(f"recreate {service} aaaa") :]
        assert after[1] == f"ready {service}"
    assert not stack.balancer.drained()
    assert stack.images[f"{IMAGE}:latest"] == "sha256:aaaa"
    assert stack.record()[-1] == ("deploy", "bbbb", "not rolled back")

    del stack.faults[f"recreate {service} aaaa"]
    assert rollback(stack).code == 0 and stack.serves("aaaa")


def test_failed_deploy_reports_the_release_of_each_server_without_haproxy(stack: Stack) -> None:
    stack.faults["recreate server1 bbbb"] = lambda: setattr(stack.balancer, "silent", "no answer")

    ended = stack.deploy("bbbb")

    assert ended.code == 4 and "HAProxy's admin socket does not answer" in ended.result["error"]
    assert ended.result["next"].startswith("server1 runs bbbb, server2 runs aaaa, worker runs aaaa")
    # `docker compose up` would start the same release as before.
    assert stack.images[f"{IMAGE}:latest"] == "sha256:aaaa"


def test_automatic_rollback_ignores_a_short_health_timeout_of_the_deploy(stack: Stack) -> None:
    stack.behave("aaaa", healthy_after=90)
    stack.behave("bbbb", healthy_after=90)

    ended = stack.deploy("bbbb", "--health-seconds", "5")

    assert ended.code == 3 and "not healthy within 5 s" in ended.result["error"]
    assert stack.serves("aaaa")


def test_automatic_rollback_accepts_a_previous_release_with_a_failing_healthz(stack: Stack) -> None:
    """It must serve; components that are down do not matter."""
    stack.behave("aaaa", answers={"/healthz": (503, "no JSON")})
    stack.behave("bbbb", becomes="unhealthy")

    assert stack.deploy("bbbb").code == 3 and stack.serves("aaaa")


def test_internal_error_of_stackctl_rolls_back_and_shows_a_traceback(stack: Stack) -> None:
    def fault() -> None:
        raise IndexError("list index out of range")

    stack.faults["recreate server2 bbbb"] = fault

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and "IndexError: list index out of range" in ended.result["error"]
    assert "Traceback" in ended.err and stack.serves("aaaa")


def test_automatic_rollback_recreates_a_removed_container_with_the_previous_release(
    stack: Stack,
) -> None:
    """The container was removed by hand during the build."""

    def remove() -> None:
        del stack.containers["worker"]

    stack.faults["build bbbb"] = remove
    stack.behave("bbbb", "worker", becomes="unhealthy")

    assert stack.deploy("bbbb").code == 3 and stack.serves("aaaa")


def test_deploy_succeeds_when_the_record_of_releases_cannot_be_written(
    stack: Stack,
) -> None:
    # Puts the release that runs on record.
    stack.deploy("aaaa")
    for outcome in ("started", "ok"):
        stack.faults[f"write releases {outcome}"] = fails("No space left on device")

    ended = stack.deploy("bbbb")

    assert ended.code == 0 and stack.serves("bbbb")
    assert "this is not in the record of releases: volume shop_stackctl: No space" in ended.err


def test_rollback_without_a_record_goes_to_the_release_built_first(
    scripted: Make,
) -> None:
    stack = on_second_release(scripted)
    stack.cut_off("kill", 18, partial(stack.deploy, "cccc"))
    assert set(stack.releases().values()) == {"bbbb", "cccc"}
    stack.volumes.clear()
    stack.balancer.admin.clear()

    rollback(stack)

    assert stack.serves("bbbb")


@pytest.mark.parametrize("resume", [rollback, partial(Stack.deploy, commit="dddd")])
def test_next_command_first_recreates_the_server_that_a_killed_deploy_left_out(
    scripted: Make, resume: Callable[[Stack], Ended]
) -> None:
    stack = on_second_release(scripted)
    stack.cut_off("kill", 15, partial(stack.deploy, "cccc"))
    assert stack.balancer.up() == ["server1"]
    serving: list[list[str]] = []

    def note(_: int) -> None:
        serving.append(stack.balancer.up())

    stack.before = note
    ended = resume(stack)

    assert "the deploy of cccc was interrupted (" in ended.err
    assert ended.code == 0 and all(serving)


def test_killed_deploy_is_resumed_after_a_later_deploy_whose_build_fails(scripted: Make) -> None:
    stack = on_second_release(scripted)
    stack.cut_off("kill", 15, partial(stack.deploy, "cccc"))
    stack.faults["build dddd"] = fails("no space left on device")
    assert stack.deploy("dddd").code == 1 and stack.balancer.up() == ["server1"]

    ended = rollback(stack)

    assert "the deploy of cccc was interrupted (" in ended.err
    assert ended.code == 0 and stack.serves("bbbb")


def test_interrupt_waits_until_the_left_out_server_is_in_service_again(scripted: Make) -> None:
    stack = on_second_release(scripted)
    stack.cut_off("kill", 15, partial(stack.deploy, "cccc"))
    assert stack.balancer.up() == ["server1"]
    stack.faults["ask server1"] = interrupts

    ended = stack.deploy("dddd")

    assert ended.code == 130 and "Every server is in service" in ended.result["next"]
    assert stack.balancer.up() == ["server1", "server2"] and not stack.balancer.drained()


def test_deploy_of_the_running_release_returns_a_drained_server_to_service(
    scripted: Make,
) -> None:
    """After a rollback that was killed before its last server was in service again."""

    def bad() -> Stack:
        stack = on_second_release(scripted)
        stack.behave("cccc", "worker", becomes="unhealthy")
        return stack

    stack = bad()
    stack.deploy("cccc")
    last = len(stack.steps) - stack.steps[::-1].index("ask server1")
    stack = bad()
    stack.cut_off("kill", last, partial(stack.deploy, "cccc"))
    assert set(stack.releases().values()) == {"bbbb"} and stack.balancer.drained() == {"server1"}

    assert stack.deploy("bbbb").code == 0

    assert stack.serves("bbbb") and stack.balancer.up() == ["server1", "server2"]


def test_rollback_is_refused_after_an_interrupt_while_a_server_is_drained_by_hand(
    scripted: Make,
) -> None:
    """Only a cut-off command may leave a server drained."""
    stack = on_second_release(scripted)
    stack.faults["ready server1"] = interrupts
    assert stack.deploy("cccc").code == 130
    stack.faults.clear()
    stack.run("drain", "server2")

    ended = rollback(stack)

    assert ended.code == 1 and "not every server is in service" in ended.result["error"]


def test_deploy_succeeds_when_the_engine_is_lost_after_the_release_serves(stack: Stack) -> None:
    # Puts the release that runs on record.
    stack.deploy("aaaa")
    stack.faults["write releases ok"] = lambda: setattr(
        stack, "before", lambda _: Reply(1, "", NO_ENGINE)
    )

    ended = stack.deploy("bbbb")

    assert ended.code == 0 and ended.result["servers"] == {}
    assert f"not known: docker ps: {NO_ENGINE}" in ended.err.replace("ps --quiet", "ps")
    assert stack.serves("bbbb")
