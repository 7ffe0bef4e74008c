"""What `deploy` checks on each new server before it receives requests."""

import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.unit.scripted.model import Container
from tests.unit.scripted.stack import Stack
from tests.unit.test_stackctl_cut_off import Make, on_second_release
from tests.unit.test_stackctl_deploy import DOWN
from tools.stackctl.releases import surge

SMAPS = Path("/proc/self/smaps_rollup")


def test_deploy_waits_until_haproxy_has_the_address_of_the_new_server(stack: Stack) -> None:
    """Status and checks may belong to the former container for a moment."""
    stale, asked = stack.balancer.stale, list[float]()
    stack.faults["recreate server1 bbbb"] = lambda: stale.update(server1=stack.clock.now + 9)
    stack.faults["ask server1"] = lambda: asked.append(stack.clock.now)

    assert stack.deploy("bbbb").code == 0
    # The first request checks the previous release.
    assert min(asked[1:]) >= stale["server1"]


def test_deploy_rolls_back_when_haproxy_keeps_the_former_address(stack: Stack) -> None:
    stack.faults["recreate server1 bbbb"] = lambda: stack.balancer.stale.update(server1=9e9)
    stack.faults["recreate server1 aaaa"] = stack.balancer.stale.clear

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and stack.serves("aaaa")
    assert (
        "HAProxy does not see it up within 30 s: DRAIN, L7OK, at 10.0.0.9" in ended.result["error"]
    )


def test_deploy_names_a_container_that_is_gone_after_its_health_check(stack: Stack) -> None:
    def remove(_: int) -> None:
        server = stack.containers.get("server1")
        inspected = server and f"docker container inspect {server.id}"
        if stack.releases().get("server1") == "bbbb" and stack.calls[-2:] == [inspected] * 2:
            del stack.containers["server1"]

    stack.behave("bbbb", healthy_after=0)
    stack.before = remove

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and stack.serves("aaaa")
    assert ended.result["error"].endswith("server1: its container is gone")


def test_component_that_a_busy_machine_was_too_slow_for_is_asked_for_again(stack: Stack) -> None:
    stack.behave("bbbb", answers={"/healthz": (503, DOWN)})
    asked: list[float] = []

    def recover() -> None:
        asked.append(stack.clock.now)
        if len(asked) > 3:
            stack.behave("bbbb")

    stack.faults["ask server1"] = recover

    assert stack.deploy("bbbb").code == 0
    # The first request checks the previous release.
    assert asked[2] - asked[1] >= 1


def test_component_that_stays_down_fails_the_release(stack: Stack) -> None:
    stack.behave("bbbb", answers={"/healthz": (503, DOWN)})

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and "reports as down what was up before" in ended.result["error"]
    assert stack.steps.count("ask server1") == 1 + 3 + 1


def test_error_of_a_page_fails_the_release_at_once(stack: Stack) -> None:
    stack.behave("bbbb", answers={"/healthz": (503, DOWN), "/": (500, "")})

    assert stack.deploy("bbbb").code == 3
    assert stack.steps.count("ask server1") == 1 + 1 + 1


def test_deploy_accepts_a_new_server_whose_drain_haproxy_forgot(stack: Stack) -> None:
    """A reload meanwhile: it serves already."""
    stack.faults["recreate server1 bbbb"] = stack.balancer.admin.clear

    assert stack.deploy("bbbb").code == 0 and stack.serves("bbbb")


def test_deploy_requests_each_page_of_a_new_server_twice(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server has several processes, and not all may be healthy."""
    answer, asked = stack.answer, list[str]()

    def second_is_bad(container: Container, path: str) -> tuple[int, str]:
        if container.service != "server1" or container.environ["RELEASE"] != "bbbb":
            return answer(container, path)
        asked.append(path)
        return (500, "") if path == "/" and asked.count("/") == 2 else answer(container, path)

    monkeypatch.setattr(stack, "answer", second_is_bad)

    ended = stack.deploy("bbbb")

    assert ended.code == 3 and "/ answers 500" in ended.result["error"] and stack.serves("aaaa")


def test_deploy_checks_the_previous_health_on_a_running_server(scripted: Make) -> None:
    """A component that is already down is no fault of the new release."""
    stack = on_second_release(scripted)
    stack.cut_off("kill", 13, partial(stack.deploy, "cccc"))
    stack.end("server1")
    for release in ("bbbb", "cccc", "dddd"):
        stack.behave(release, answers={"/healthz": (503, DOWN)})

    ended = stack.deploy("dddd")

    assert ended.code == 0 and "database is down already: gone" in ended.err
    assert stack.serves("dddd")


def test_deploy_drains_as_long_as_request_seconds_of_the_running_container(
    stack: Stack,
) -> None:
    stack.containers["server1"].environ["REQUEST_SECONDS"] = "60"
    stack.balancer.requests = {"server1": [stack.clock.now + 60.0]}

    ended = stack.deploy("bbbb")

    assert ended.code == 0 and "requests still run" not in ended.err


@pytest.mark.skipif(not SMAPS.exists(), reason="Linux only, as containers are")
def test_memory_of_servers_and_machine_is_what_the_kernel_reports() -> None:
    """The command of a server's container, run here."""
    printed = subprocess.run(
        ["sh", "-c", surge.MEMORY], capture_output=True, text=True, check=False
    ).stdout
    own = SMAPS.read_text().partition("\nPss:")[2].split()[0]
    free = Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()[0]

    used, available = surge.memory(printed)

    assert used >= int(own) * 0.8
    assert available == pytest.approx(int(free), rel=0.2)
