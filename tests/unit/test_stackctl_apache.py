"""Apache next to HAProxy: stackctl drains servers in both."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tree import ROOT
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


# What Apache's own page says of two servers; `member` sends its change before.
MEMBERS = """#!/bin/sh
for server in server1 server2; do
    echo "<httpd:name>http://$server:7999</httpd:name>"
    echo "<httpd:status>$STATUS</httpd:status>"
    echo "<httpd:busy>3</httpd:busy>"
done
"""


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("server1",), "Init Ok", 0),
        (("server1", "off"), "Init Dis Ok", 0),
        (("server1", "on"), "Init Ok", 0),
        # Apache ignores a change that it does not understand.
        (("server1", "off"), "Init Ok", 1),
        (("server1", "on"), "Init Dis Ok", 1),
        (("server9",), "Init Ok", 1),
        (("server9", "off"), "Init Dis Ok", 1),
    ],
)
def test_member_command_fails_unless_apache_has_the_requested_state(
    tmp_path: Path, arguments: tuple[str, ...], status: str, code: int
) -> None:
    shutil.copy(ROOT / "variants/apache/member", tmp_path)
    (tmp_path / "ask").write_text(MEMBERS)
    (tmp_path / "ask").chmod(0o755)

    result = subprocess.run(
        [tmp_path / "member", *arguments],
        env={"PATH": "/usr/bin:/bin", "STATUS": status},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stdout) == (code, "" if code else "3\n")
    assert not code or f"httpd has no {arguments[0]}" in result.stderr
