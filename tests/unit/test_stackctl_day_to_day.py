"""`logs`, `exec` and `shell`, with a fake engine."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.scripted.stack import run
from tests.unit.test_stackctl_parts import container
from tools.stackctl.commands import execute, stack
from tools.stackctl.common import process
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.docker import compose, engine
from tools.stackctl.docker.engine import Container

REQUEST = "6246be24-8f0c-4a55-9a37-1f1b4d2c7e10"
LOGS = {
    "haproxy": [
        f'2030-01-01T12:00:00.300000000Z {{"server":"haproxy","request_id":"{REQUEST}"}}',
        '2030-01-01T12:00:00.900000000Z {"server":"haproxy","request_id":"other"}',
    ],
    "server1": [
        f'2030-01-01T12:00:00.100000000Z {{"event": "started", "request_id": "{REQUEST}"}}',
        f'2030-01-01T12:00:00.200000000Z {{"event": "finished", "request_id": "{REQUEST}"}}',
    ],
    # One that a deploy has stopped and not removed.
    "server1-old": [f"2030-01-01T12:00:00.150000000Z retried {REQUEST.upper()}"],
    "worker": [],
}


class Became(Exception):  # noqa: N818 (no error)
    """The program that took stackctl's place."""


class Engine:
    """What the engine has and was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Create a stack whose containers have logs."""
        self.containers = [
            self.container("haproxy"),
            self.container("server1-old", service="server1", running=False),
            self.container("server1"),
            self.container("server2"),
            self.container("worker"),
        ]
        self.calls: list[tuple[str, ...]] = []
        self.refusal = ""
        services = {name: {"image": "app"} for name in ("haproxy", "server1", "server2", "worker")}
        project = compose.Project("mysite", "local", {"name": "mysite", "services": services})
        monkeypatch.setattr(stack, "load", lambda: project)
        monkeypatch.setattr(engine, "containers", lambda _: self.containers)
        monkeypatch.setattr(process, "run", self.run)
        monkeypatch.setattr(process, "become", self.become)

    @staticmethod
    def container(name: str, **facts: object) -> Container:
        """Return a healthy container."""
        given = {"service": name, "health": "healthy", **facts}
        return container(id=f"id-{name}", **{"name": f"mysite-{name}-1", **given})

    def run(self, *command: str, seconds: float = 0) -> process.Result:
        """Answer `docker logs`; server1 writes to standard error."""
        self.calls.append(command)
        name = command[-1].removeprefix("id-")
        if self.refusal:
            return process.Result(1, "", f"{self.refusal}\n")
        text = "\n".join(LOGS.get(name, []))
        return process.Result(0, *(("", text) if name == "server1" else (text, "")))

    def become(self, *command: str) -> None:
        """Note the program."""
        raise Became(*command)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Return the engine."""
    return Engine(monkeypatch)


def became(call: Callable[[], object]) -> list[str]:
    """Return the program that a command becomes."""
    with pytest.raises(Became) as caught:
        call()
    return list(caught.value.args)


def stackctl(*arguments: str) -> list[str]:
    """Return the program that a command line becomes."""
    return became(lambda: run(arguments))


def test_logs_of_a_request_are_those_of_all_containers_in_the_order_of_time(fake: Engine) -> None:
    ended = run(["logs", "--request", REQUEST])

    assert ended.code == 0
    assert [line.partition(" | ")[0] for line in ended.out.splitlines()] == [
        "2030-01-01T12:00:00.100Z server1-1    ",
        "2030-01-01T12:00:00.150Z server1-old-1",
        "2030-01-01T12:00:00.200Z server1-1    ",
        "2030-01-01T12:00:00.300Z haproxy-1    ",
    ]
    assert "other" not in ended.out


def test_logs_of_a_request_are_found_by_the_beginning_of_its_id(fake: Engine) -> None:
    ended = run(["logs", "--request", REQUEST[:8], "--json", "--since", "10m", "haproxy"])

    (line,) = json.loads(ended.out)["lines"]
    assert line["container"] == "haproxy-1" and REQUEST in line["text"]
    assert fake.calls == [
        ("docker", "logs", "--timestamps", "--since", "10m", "id-haproxy"),
    ]


@pytest.mark.parametrize("identity", ["hello", "6246be2", "6246be24.*", REQUEST + "0"])
def test_logs_refuses_what_is_no_request_id(fake: Engine, identity: str) -> None:
    ended = run(["logs", "--request", identity])

    assert ended.code == 2 and "X-Request-ID" in ended.err
    assert fake.calls == []


def test_logs_says_why_no_line_has_a_request_id(fake: Engine) -> None:
    ended = run(["logs", "--request", "deadbeef"])

    assert ended.code == 1
    assert "no line of the 5 containers has deadbeef" in ended.err
    assert "a deploy does that" in ended.err


def test_logs_leaves_out_a_container_that_is_removed_meanwhile(fake: Engine) -> None:
    fake.refusal = "Error response from daemon: No such container: id"

    assert "no line of the 5 containers" in run(["logs", "--request", REQUEST]).err


def test_logs_reports_a_time_that_docker_refuses(fake: Engine) -> None:
    fake.refusal = 'invalid value for "since": failed to parse value as time or duration'

    ended = run(["logs", "--request", REQUEST, "--since", "noon"])
    assert ended.code == 1 and "failed to parse" in ended.err and "10m" in ended.err


def test_logs_without_a_request_are_those_of_compose(fake: Engine) -> None:
    logs = ["docker", "compose", "logs"]

    assert stackctl("logs") == [*logs, "--tail", "200"]
    assert stackctl("logs", "-f", "worker") == [*logs, "--tail", "200", "--follow", "worker"]
    assert stackctl("logs", "--since", "10m", "server1") == [*logs, "--since", "10m", "server1"]
    assert "Services: haproxy, server1" in run(["logs", "wroker"]).err


@pytest.mark.parametrize("options", [["--json"], ["--follow", "--request", REQUEST]])
def test_logs_refuses_options_that_do_not_fit(fake: Engine, options: list[str]) -> None:
    assert run(["logs", *options]).code == 2


def test_exec_runs_a_command_with_its_options_in_the_container(fake: Engine) -> None:
    program = ["docker", "exec", "--interactive"]

    assert stackctl("exec", "worker", "ls", "-l", "--help") == [
        *(*program, "id-worker", "ls", "-l", "--help"),
    ]


def test_exec_at_a_terminal_gives_the_command_a_terminal(
    fake: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)

    program = became(lambda: execute.execute("worker", ["top"]))
    assert program == ["docker", "exec", "--interactive", "--tty", "id-worker", "top"]


def test_shell_opens_in_a_healthy_server(fake: Engine) -> None:
    fake.containers = [
        replace(one, health="unhealthy") if one.id == "id-server1" else one
        for one in fake.containers
    ]

    assert stackctl("shell", "-c", "print(1)")[-5:] == [
        *("id-server2", "./manage.py", "shell", "-c", "print(1)"),
    ]


def test_exec_names_what_starts_a_service_that_does_not_run(fake: Engine) -> None:
    fake.containers = [replace(one, running=False) for one in fake.containers]

    for service, problem in (("server", "no server runs"), ("worker", "worker does not run")):
        with pytest.raises(StackctlError, match=problem) as caught:
            execute.execute(service, ["id"])
        assert "./stackctl up" in caught.value.hint


def test_exec_names_the_services_and_a_missing_command(fake: Engine) -> None:
    unknown, empty = run(["exec", "wroker", "id"]), run(["exec", "worker"])

    assert (unknown.code, empty.code) == (2, 2)
    assert "Services: haproxy, server1" in unknown.err
    assert "./manage.py check" in empty.err
