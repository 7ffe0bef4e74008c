"""Apache next to HAProxy: stackctl drains it too, and waits for it."""

import pytest

from tools.stackctl.balancer import haproxy
from tools.stackctl.balancer.apache import MEMBER, Apache
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.common.process import Result
from tools.stackctl.docker import engine

SERVER = haproxy.BalancedServer("server1", "DRAIN", "L7OK", "172.18.0.3", 0, 0, 0, 0)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is asked of Apache's container; it has three requests running."""
    asked: list[tuple[str, ...]] = []

    def execute(container: str, *command: str) -> Result:
        asked.append((container, *command))
        return Result(0, "3\n", "")

    monkeypatch.setattr(engine, "execute", execute)
    monkeypatch.setattr(haproxy.Balancer, "command", lambda *_: "")
    monkeypatch.setattr(haproxy.Balancer, "servers", lambda _: {"server1": SERVER})
    return asked


def with_apache() -> haproxy.Balancer:
    """Return a balancer with Apache next to it."""
    balancer = haproxy.Balancer("h")
    balancer.apache = Apache("a")
    return balancer


def test_it_is_told_of_a_drain_and_of_its_end(said: list[tuple[str, ...]]) -> None:
    balancer = with_apache()
    balancer.drain("server1")
    balancer.ready("server1")

    assert said == [("a", MEMBER, "server1", "off"), ("a", MEMBER, "server1", "on")]


def test_its_requests_are_waited_for(said: list[tuple[str, ...]]) -> None:
    assert with_apache().busy_elsewhere("server1") == 3
    assert said == [("a", MEMBER, "server1")]


def test_without_it_nobody_is_asked(said: list[tuple[str, ...]]) -> None:
    balancer = haproxy.Balancer("h")
    balancer.drain("server1")
    balancer.ready("server1")

    assert balancer.busy_elsewhere("server1") == 0
    assert said == []


@pytest.mark.parametrize("result", [Result(1, "", "no such server"), Result(0, "odd page", "")])
def test_one_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, result: Result) -> None:
    monkeypatch.setattr(engine, "execute", lambda *_: result)

    with pytest.raises(StackctlError) as refused:
        Apache("a").drain("server1")
    assert refused.value.problem == f"Apache cannot be asked about server1: {result.text()}"
    assert "docker compose restart apache" in refused.value.hint
