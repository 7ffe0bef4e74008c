"""Apache next to HAProxy: stackctl drains servers in both."""

import pytest

from tools.stackctl.balancer import haproxy
from tools.stackctl.balancer.apache import MEMBER, Apache
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.common.process import Result
from tools.stackctl.docker import engine

SERVER = haproxy.BalancedServer("server1", "DRAIN", "L7OK", "172.18.0.3", 0, 0, 0, 0)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Record commands in the Apache container, which has three requests running."""
    executed: list[tuple[str, ...]] = []

    def execute(container: str, *command: str) -> Result:
        executed.append((container, *command))
        return Result(0, "3\n", "")

    monkeypatch.setattr(engine, "execute", execute)
    monkeypatch.setattr(haproxy.Balancer, "command", lambda *_: "")
    monkeypatch.setattr(haproxy.Balancer, "servers", lambda _: {"server1": SERVER})
    return executed


def with_apache() -> haproxy.Balancer:
    """Return a balancer with Apache next to it."""
    balancer = haproxy.Balancer("h")
    balancer.apache = Apache("a")
    return balancer


def test_drain_and_ready_set_the_member_in_apache(commands: list[tuple[str, ...]]) -> None:
    balancer = with_apache()
    balancer.drain("server1")
    balancer.ready("server1")

    assert commands == [("a", MEMBER, "server1", "off"), ("a", MEMBER, "server1", "on")]


def test_drain_waits_for_requests_of_apache(commands: list[tuple[str, ...]]) -> None:
    assert with_apache().busy_elsewhere("server1") == 3
    assert commands == [("a", MEMBER, "server1")]


def test_drain_without_apache_runs_no_apache_command(commands: list[tuple[str, ...]]) -> None:
    balancer = haproxy.Balancer("h")
    balancer.drain("server1")
    balancer.ready("server1")

    assert balancer.busy_elsewhere("server1") == 0
    assert commands == []


@pytest.mark.parametrize("result", [Result(1, "", "no such server"), Result(0, "odd page", "")])
def test_apache_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, result: Result
) -> None:
    monkeypatch.setattr(engine, "execute", lambda *_: result)

    with pytest.raises(StackctlError) as refused:
        Apache("a").drain("server1")
    assert refused.value.problem == f"Apache does not report the state of server1: {result.text()}"
    assert "docker compose restart apache" in refused.value.hint
