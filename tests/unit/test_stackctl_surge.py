"""A deploy that starts new servers next to the present ones, from start to end."""

from functools import partial

import pytest

from tests.unit.scripted.project import NAME
from tests.unit.scripted.stack import ENOUGH, Killed, Stack, fails, interrupts
from tests.unit.test_stackctl_deploy import BEGIN

# KiB
TOO_LITTLE = ENOUGH - 1
START = "start server1 server2 worker bbbb next to it"
END = ["stop former server1 server2 worker", "remove server1 server2 worker"]
REMOVE_NEW = "remove server1 server2"


def last(steps: list[str], step: str) -> int:
    """Return the position of a step's last occurrence."""
    return len(steps) - 1 - steps[::-1].index(step)


def test_deploy_starts_all_servers_next_to_the_present_ones_and_moves_requests(
    roomy: Stack,
) -> None:
    ended = roomy.deploy("bbbb")

    assert ended.code == 0
    assert roomy.steps == [
        *(*BEGIN, "build bbbb", "lint migrations", "keep static bbbb", "ask server1"),
        *("name bbbb latest", START, "name aaaa latest", "ask server1", "ask server2"),
        *("name bbbb latest", "move server1 to bbbb"),
        *("name bbbb latest", "move server2 to bbbb"),
        *("name bbbb latest", "mark server1 drained", "mark server2 drained", *END),
        "write releases ok",
    ]
    assert roomy.serves("bbbb") and not roomy.replicas.others
    assert ended.result["servers"] == {"server1": "bbbb", "server2": "bbbb"}


def test_no_server_is_out_of_service_during_the_deploy(roomy: Stack) -> None:
    up: set[int] = set()
    roomy.at_step = lambda _: up.add(len(roomy.balancer.up()))

    roomy.deploy("bbbb")

    assert up == {2}


def test_new_containers_get_the_names_of_the_former_ones(roomy: Stack) -> None:
    for release in ("bbbb", "cccc"):
        assert roomy.deploy(release).code == 0
        names = [roomy.containers[server].name for server in ("server1", "server2")]
        assert names == [f"{NAME}-server1-1", f"{NAME}-server2-1"]


def test_second_server_follows_after_the_watch_of_the_first(roomy: Stack) -> None:
    at: dict[str, float] = {}

    def note(at: dict[str, float], server: str) -> None:
        at[server] = roomy.clock.now

    for server in ("server1", "server2"):
        roomy.faults[f"move {server} to bbbb"] = partial(note, at, server)

    roomy.deploy("bbbb", "--watch-seconds", "30")

    assert at["server2"] - at["server1"] >= 30


def test_former_container_ends_after_its_last_request(roomy: Stack) -> None:
    roomy.replicas.requests = {roomy.containers["server2"].id: roomy.clock.now + 19}
    at: list[float] = []
    roomy.faults["stop former server2"] = lambda: at.append(roomy.clock.now)

    assert roomy.deploy("bbbb").code == 0
    assert at[0] >= 1019 and "mark server2 drained" in roomy.steps


def test_other_former_containers_do_not_wait_for_a_long_request(roomy: Stack) -> None:
    roomy.replicas.requests = {roomy.containers["server1"].id: roomy.clock.now + 19}
    at: dict[str, float] = {}
    for names in ("server2 worker", "server1"):
        step = f"stop former {names}"
        roomy.faults[step] = partial(lambda name: at.update({name: roomy.clock.now}), names)

    assert roomy.deploy("bbbb").code == 0
    assert at["server2 worker"] < 1015 < 1019 <= at["server1"]


def test_former_container_stops_gracefully_when_a_request_does_not_end(roomy: Stack) -> None:
    roomy.replicas.requests = {roomy.containers["server2"].id: roomy.clock.now + 9000}

    assert roomy.deploy("bbbb").code == 0 and roomy.serves("bbbb")
    # Without the mark it waits for the request itself.
    assert "mark server2 drained" not in roomy.steps
    assert "stop former server2" in roomy.steps


def kill_deploy(stack: Stack, step: str) -> None:
    """Kill a deploy of bbbb at this step."""

    def kill() -> None:
        raise Killed

    stack.faults = {step: kill}
    assert stack.deploy("bbbb").code == 137


def fail_to_build(stack: Stack) -> None:
    """Let the next deploy fail before it changes a container; it cleans up what is left."""
    stack.faults = {"build cccc": fails("no space left on device")}
    assert stack.deploy("cccc").code == 1


# With the release that serves then.
killed_before_and_after_the_move = pytest.mark.parametrize(
    ("step", "release"), [("move server1 to bbbb", "aaaa"), ("mark server1 drained", "bbbb")]
)


def test_second_worker_that_a_killed_deploy_left_is_removed(roomy: Stack) -> None:
    kill_deploy(roomy, "move server1 to bbbb")
    assert len(roomy.replicas.of_service("worker")) == 2

    assert roomy.run("rollback", "--json").code == 0

    assert roomy.serves("aaaa") and not roomy.replicas.others


@killed_before_and_after_the_move
def test_worker_of_the_release_that_serves_stays_after_a_killed_deploy(
    roomy: Stack, step: str, release: str
) -> None:
    kill_deploy(roomy, step)
    fail_to_build(roomy)

    assert roomy.releases() == dict.fromkeys(("server1", "server2", "worker"), release)
    assert not roomy.replicas.others


@killed_before_and_after_the_move
def test_worker_that_runs_stays_when_the_one_of_the_release_that_serves_has_ended(
    roomy: Stack, step: str, release: str
) -> None:
    kill_deploy(roomy, step)
    for one in roomy.replicas.of_service("worker"):
        one.status = "exited" if one.image == f"sha256:{release}" else "running"
    fail_to_build(roomy)

    (left,) = roomy.replicas.of_service("worker")
    assert left.status == "running"


def test_killed_deploy_leaves_the_name_that_compose_starts_to_the_release_that_serves(
    roomy: Stack,
) -> None:
    for step, serving in (("ask server2", "aaaa"), ("move server2 to bbbb", "bbbb")):
        kill_deploy(roomy, step)
        assert roomy.latest() == serving
        roomy.faults = {}
        roomy.run("rollback", "--json")


def test_status_shows_the_container_that_gets_the_requests(roomy: Stack) -> None:
    kill_deploy(roomy, "move server2 to bbbb")

    servers = roomy.run("status", "--json").result["servers"]
    assert [one["release"] for one in servers] == ["bbbb", "aaaa"]

    ended = roomy.run("doctor")
    assert "server1: it has 2 containers" in ended.err
    assert (
        "./stackctl deploy or ./stackctl rollback removes those that get no requests" in ended.err
    )
    assert "--scale server1" not in ended.err


@pytest.mark.parametrize("service", ["worker", "bot"])
def test_only_the_worker_of_the_stack_has_two_containers(roomy: Stack, service: str) -> None:
    """Another service may be the only one that may run, or publish a port."""
    roomy.extra["bot"] = {**roomy.model()["services"]["worker"]}
    roomy.create("bot")

    assert roomy.deploy("bbbb").code == 0

    assert (f"recreate {service} bbbb" in roomy.steps) is (service == "bot")


def test_worker_that_is_scaled_by_the_compose_files_is_recreated(roomy: Stack) -> None:
    roomy.extra["worker"] = {**roomy.model()["services"]["worker"], "scale": 2}

    assert roomy.deploy("bbbb").code == 0

    assert "recreate worker bbbb" in roomy.steps


def test_servers_that_got_no_request_are_removed_without_a_graceful_stop(roomy: Stack) -> None:
    roomy.behave("bbbb", "server2", answers={"/readyz": (503, "")})

    assert roomy.deploy("bbbb").code == 3
    assert REMOVE_NEW in roomy.steps and "stop former worker" in roomy.steps

    # The first server got requests and has to end them; the second one got none.
    roomy.faults["move server1 to cccc"] = fails("no answer from HAProxy")
    roomy.deploy("cccc")
    assert "remove server2" in roomy.steps


def test_interrupt_before_requests_move_removes_the_new_servers(roomy: Stack) -> None:
    roomy.faults["ask server2"] = interrupts

    ended = roomy.deploy("bbbb")

    assert ended.code == 130 and roomy.serves("aaaa") and not roomy.replicas.others
    assert not any(step.startswith("move") for step in roomy.steps)


def test_interrupt_between_two_servers_leaves_one_container_of_each(roomy: Stack) -> None:
    roomy.faults["move server1 to bbbb"] = interrupts

    ended = roomy.deploy("bbbb")

    assert ended.code == 130 and not roomy.replicas.others
    assert roomy.releases() == {"server1": "bbbb", "server2": "aaaa", "worker": "aaaa"}


def test_server_out_of_service_is_recreated_before_the_others_are_replaced(roomy: Stack) -> None:
    roomy.cut_off("kill", 9, lambda: roomy.deploy("bbbb"))
    roomy.end("server2")

    assert roomy.deploy("cccc").code == 0

    assert roomy.serves("cccc") and not roomy.replicas.others
    assert roomy.steps.index("recreate server2 cccc") < roomy.steps.index(
        "start server1 worker cccc next to it"
    )


@pytest.mark.parametrize(
    ("available", "options", "in_place"),
    [(ENOUGH, (), False), (TOO_LITTLE, (), True), (ENOUGH, ("--in-place",), True)],
)
def test_servers_are_replaced_in_place_without_memory_or_on_request(
    stack: Stack, available: int, options: tuple[str, ...], in_place: bool
) -> None:
    stack.replicas.available = available

    ended = stack.deploy("bbbb", *options)

    assert ended.code == 0 and stack.serves("bbbb")
    assert ("recreate server1 bbbb" in stack.steps) is in_place
    reason = "the servers and the worker use 292 MiB of memory, and this machine has 585 MiB left"
    assert (reason in ended.err) is (available == TOO_LITTLE)


# remove_apache: begin
def test_servers_are_replaced_in_place_where_apache_sends_them_requests_too(roomy: Stack) -> None:
    roomy.extra["apache"] = {"image": "httpd:2.4"}
    roomy.create("apache")

    ended = roomy.deploy("bbbb")

    assert ended.code == 0 and "recreate server1 bbbb" in roomy.steps
    assert "apache sends requests to both containers of a server" in ended.err


# remove_apache: end
def test_rollback_starts_the_earlier_release_next_to_the_present_one(roomy: Stack) -> None:
    roomy.deploy("bbbb")

    assert roomy.run("rollback", "--json").code == 0

    assert "start server1 server2 worker aaaa next to it" in roomy.steps and roomy.serves("aaaa")
