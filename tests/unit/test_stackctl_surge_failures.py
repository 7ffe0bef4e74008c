"""New servers next to the present ones: bad releases, restarts, what cannot be removed."""

from functools import partial
from typing import Any

import pytest

from tests.unit.scripted.engine import APPLICATION
from tests.unit.scripted.model import Reply
from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import Stack, fails
from tests.unit.test_stackctl_deploy import BAD_RELEASES
from tests.unit.test_stackctl_surge import END, REMOVE_NEW, START, last

# The checks of HAProxy belong to a server that was drained.
BAD = {name: bad for name, bad in BAD_RELEASES.items() if name != "not reached"}


@pytest.mark.parametrize("server", ["server1", "server2"])
@pytest.mark.parametrize(("facts", "words"), BAD.values(), ids=BAD)
def test_bad_release_costs_no_server(
    roomy: Stack, server: str, facts: dict[str, Any], words: str
) -> None:
    before = {name: container.id for name, container in roomy.containers.items()}
    roomy.behave("bbbb", server, **facts)

    ended = roomy.deploy("bbbb")

    assert ended.code == 3 and roomy.serves("aaaa") and not roomy.locks
    assert f"deploy of bbbb failed: {server}: " in ended.result["error"]
    assert words in ended.result["error"]
    assert f"the last lines of {server}:" in ended.err and f"Z error: {server}: " in ended.err
    # The same containers serve; those of the bad release are gone.
    assert {name: container.id for name, container in roomy.containers.items()} == before
    assert not roomy.replicas.others
    assert roomy.record()[-1] == ("deploy", "bbbb", "rolled back")


def test_release_that_haproxy_cannot_reach_gives_the_requests_back(roomy: Stack) -> None:
    roomy.behave("bbbb", "server1", check="L4CON")

    ended = roomy.deploy("bbbb")

    assert ended.code == 3 and "HAProxy does not put it into service: DOWN" in ended.result["error"]
    assert roomy.steps.index("move server1 to aaaa") > roomy.steps.index("move server1 to bbbb")
    assert "move server2 to bbbb" not in roomy.steps
    assert roomy.serves("aaaa") and not roomy.replicas.others


def test_server_that_haproxy_moved_in_one_backend_only_is_moved_back(roomy: Stack) -> None:
    def move_and_fail() -> Reply:
        [new] = [one for one in roomy.replicas.others if one.service == "server1"]
        roomy.balancer.addresses["server1"] = new.address
        return Reply(out="a fault of HAProxy")

    roomy.faults["move server1 to bbbb"] = move_and_fail

    ended = roomy.deploy("bbbb")

    assert ended.code == 3 and "a fault of HAProxy" in ended.result["error"]
    assert "move server1 to aaaa" in roomy.steps and roomy.serves("aaaa")


def test_worker_that_fails_costs_neither_a_server_nor_the_former_worker(roomy: Stack) -> None:
    before = {name: container.id for name, container in roomy.containers.items()}
    roomy.behave("bbbb", "worker", ends=True)

    ended = roomy.deploy("bbbb")

    assert ended.code == 3 and "worker: its container ended by itself" in ended.result["error"]
    assert {name: container.id for name, container in roomy.containers.items()} == before
    assert not any(step.startswith("move") and "bbbb" in step for step in roomy.steps)
    assert roomy.serves("aaaa") and not roomy.replicas.others


def test_haproxy_that_restarted_sends_requests_where_they_were_sent_before(roomy: Stack) -> None:
    """It chooses one of the two containers that have a server's name."""

    def restarts() -> None:
        former = roomy.containers["server1"].address
        roomy.balancer.addresses["server1"] = former

    roomy.faults["name bbbb latest"] = restarts

    assert roomy.deploy("bbbb").code == 0
    assert (
        roomy.steps.index(END[0])
        > last(roomy.steps, "move server1 to bbbb")
        > last(roomy.steps, "name bbbb latest")
    )
    assert roomy.serves("bbbb") and not roomy.replicas.others


def test_failed_release_gives_back_the_requests_that_a_restarted_haproxy_sends_it(
    roomy: Stack,
) -> None:
    def restarts() -> None:
        roomy.balancer.addresses["server1"] = roomy.replicas.of_service("server1")[-1].address

    roomy.behave("bbbb", "worker", ends=True)
    roomy.faults["ask server2"] = restarts
    roomy.behave("bbbb", "server2", answers={"/healthz": (500, "{}")})

    assert roomy.deploy("bbbb").code == 3
    assert "move server1 to aaaa" in roomy.steps
    assert roomy.serves("aaaa") and not roomy.replicas.others


@pytest.mark.parametrize(("seconds", "code"), [(80, 3), (1000, 4)])
def test_rollback_waits_for_an_haproxy_that_restarts(
    roomy: Stack, seconds: float, code: int
) -> None:
    """Its running requests end first."""

    def restart() -> Reply:
        up_at = roomy.clock.now + seconds
        roomy.balancer.silent = "Connection refused"

        def pass_time(_: int) -> None:
            if roomy.clock.now > up_at:
                roomy.balancer.silent = ""

        roomy.before = pass_time
        return Reply(out="Connection refused")

    roomy.faults["move server2 to bbbb"] = restart

    assert roomy.deploy("bbbb").code == code
    if code == 3:
        assert roomy.serves("aaaa") and not roomy.replicas.others


def test_requests_that_haproxy_does_not_give_back_keep_their_server(roomy: Stack) -> None:
    """The new container is bad, but a removed one would answer nothing."""
    roomy.behave("bbbb", "server2", check="L4CON")
    roomy.faults["move server1 to aaaa"] = fails("no answer from HAProxy")

    ended = roomy.deploy("bbbb")

    assert ended.code == 4 and "HAProxy refused to set server1 to" in ended.result["error"]
    assert "Z error: HAProxy refused to set server1 to" in ended.err
    assert len(roomy.replicas.of_service("server1")) == 2 and len(roomy.balancer.up()) == 2

    roomy.faults.clear()
    assert roomy.deploy("cccc").code == 0
    assert roomy.serves("cccc") and not roomy.replicas.others


@pytest.mark.parametrize("server", ["server1", "server2"])
def test_new_server_that_ended_gets_no_request(roomy: Stack, server: str) -> None:
    """It passed its checks; then it has no address any more."""

    def end() -> None:
        [new] = [one for one in roomy.replicas.others if one.service == server]
        new.status = "exited"

    roomy.faults["ask server2"] = end

    ended = roomy.deploy("bbbb")

    assert ended.code == 3 and roomy.serves("aaaa") and not roomy.replicas.others
    assert f"failed: {NAME}-{server}-2 has no address" in ended.result["error"]
    assert f"docker logs --tail 30 {NAME}-{server}-2" in ended.err
    assert f"move {server} to bbbb" not in roomy.steps


@pytest.mark.parametrize("started", [("server1",), ("server1", "server2")], ids=len)
def test_error_of_compose_fails_the_release_whatever_it_started(
    roomy: Stack, started: tuple[str, ...]
) -> None:
    def start(code: int) -> Reply:
        first = dict(roomy.containers)
        roomy.replicas.others += [roomy.create(server) for server in started]
        roomy.containers.update(first)
        return Reply(code, err="port is already allocated")

    for code in {0 if len(started) == 1 else 1, 1}:
        roomy.faults[START] = partial(start, code)
        ended = roomy.deploy("bbbb")
        assert ended.code == 3 and roomy.serves("aaaa") and not roomy.replicas.others
        assert "failed: server1: compose could not start it" in ended.result["error"]
        assert "port is already allocated" in ended.err


@pytest.mark.parametrize("options", [(), ("--in-place",)], ids=len)
def test_server_started_from_another_image_fails_the_release(
    roomy: Stack, options: tuple[str, ...]
) -> None:
    """Someone else named another image `latest` meanwhile."""
    roomy.faults["name bbbb latest"] = Reply

    ended = roomy.deploy("bbbb", *options)

    assert ended.code == 3 and "it still runs another image" in ended.result["error"]
    # In place HAProxy finds the address by itself.
    assert roomy.balancer.addresses == {
        server: roomy.containers[server].address
        for server in ("server1", "server2") * (not options)
    }


def test_container_that_compose_cannot_start_changes_nothing(roomy: Stack) -> None:
    roomy.faults[START] = fails("no space left on device")

    ended = roomy.deploy("bbbb")

    assert ended.code == 3 and "compose could not start it" in ended.result["error"]
    assert "no space left on device" in ended.err
    assert roomy.serves("aaaa") and not any(step.startswith("move") for step in roomy.steps)


def test_former_container_is_removed_in_the_next_try_after_a_second(roomy: Stack) -> None:
    at: list[float] = []
    busy = fails("the daemon is busy", times=2)

    def fail() -> Reply | None:
        at.append(roomy.clock.now)
        return busy()

    roomy.faults[END[0]] = fail

    ended = roomy.deploy("bbbb")

    assert ended.code == 0 and "a former container is left" not in ended.err
    assert not roomy.replicas.others
    assert len(at) == 3 and min(at[1] - at[0], at[2] - at[1]) >= 1


def test_new_containers_that_cannot_be_removed_fail_the_rollback(roomy: Stack) -> None:
    roomy.behave("bbbb", "server2", answers={"/readyz": (503, "")})
    roomy.faults[REMOVE_NEW] = fails("the daemon is busy")

    ended = roomy.deploy("bbbb")

    assert ended.code == 4 and "and so did the rollback: docker rm" in ended.result["error"]
    assert "Z error: docker rm --force: the daemon is busy" in ended.err
    assert len(roomy.balancer.up()) == 2 and roomy.releases() == dict.fromkeys(APPLICATION, "aaaa")


def test_former_container_that_cannot_be_removed_is_left_to_the_next_deploy(roomy: Stack) -> None:
    roomy.faults[END[0]] = fails("the daemon is busy")

    ended = roomy.deploy("bbbb")

    assert ended.code == 0
    assert "a former container is left: docker stop" in ended.err
    assert ended.err.count("the next deploy removes it") == 1
    assert len(roomy.replicas.others) == 3

    roomy.faults.clear()
    ended = roomy.deploy("cccc")
    assert ended.code == 0 and roomy.serves("cccc") and not roomy.replicas.others
    assert f"{NAME}-server1-1: removed; an interrupted deploy had left it" in ended.err
