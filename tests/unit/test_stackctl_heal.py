"""What `stackctl heal` does about what it sees; the engine is a fake, the lock is real."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from stackctl_cli import compose, diagnosis, engine, haproxy, heal, lock, process, state
from stackctl_cli.console import Console
from stackctl_cli.diagnosis import Cure
from stackctl_cli.engine import Container
from stackctl_cli.faults import StackctlError
from stackctl_cli.interrupt import Interrupt
from tests.unit.test_stackctl_parts import container, seen

KILLED = {"running": False, "status": "exited", "exit_code": 137, "health": "unhealthy"}
HUNG = {"health": "unhealthy"}
IMAGES = {"db": "mysql:9.7", "haproxy": "haproxy:3.0"}


class Stack:
    """A stack in the engine's and the load balancer's eyes, and what was done to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make one in which all is well."""
        names = ("server1", "server2", "server3", "worker", "haproxy", "db", "migrate")
        self.containers = {name: self.service(name) for name in names}
        once = {"restart_policy": "no", "running": False, "status": "exited", "health": "none"}
        self.change("migrate", **once)
        self.balancer = {name: replace(seen("UP"), name=name) for name in names[:3]}
        services = {name: {"image": IMAGES.get(name, "fake-local")} for name in names}
        model = {"name": "project", "services": services}
        self.project = compose.Project("project", "local", model)
        self.done: list[str] = []
        self.stopped: set[str] = set()
        self.heals = True
        monkeypatch.setattr(compose.Project, "containers", lambda _: dict(self.containers))
        monkeypatch.setattr(haproxy.Balancer, "servers", lambda _: dict(self.balancer))
        monkeypatch.setattr(engine, "was_stopped", lambda c: c.id in self.stopped)
        monkeypatch.setattr(engine, "last_lines", lambda *_: "the last line")
        monkeypatch.setattr(engine, "execute", lambda *_: process.Result(1, "", ""))
        monkeypatch.setattr(engine, "start", lambda name: self.act("start", name))
        monkeypatch.setattr(engine, "restart", lambda name, *_: self.act("restart", name))
        monkeypatch.setattr(heal, "BACK_SECONDS", 5)
        monkeypatch.setattr(heal, "POLL_SECONDS", 0.01)

    def service(self, name: str) -> Container:
        """Return a container that is well."""
        return container(id=name, service=name, restart_policy="unless-stopped")

    def change(self, name: str, **facts: object) -> None:
        """Change what the engine says of a container."""
        self.change_quietly(name, **facts)
        if name.startswith("server"):
            self.balancer[name] = replace(seen("DOWN"), name=name)

    def change_quietly(self, name: str, **facts: object) -> None:
        """Change what the engine says of a container; HAProxy notices nothing."""
        self.containers[name] = replace(self.containers[name], **facts)  # type: ignore[arg-type]

    def act(self, what: str, name: str) -> process.Result:
        """Do what stackctl asks for; what is done to it heals a container, or does not."""
        self.done.append(f"{what} {name}")
        if self.heals:
            self.well(name)
        return process.Result(0, "", "")

    def well(self, name: str) -> None:
        """Make a container well."""
        self.containers[name] = self.service(name)
        if name.startswith("server"):
            self.balancer[name] = replace(seen("UP"), name=name)

    def examined(self) -> dict[str, Cure]:
        """Return what stackctl thinks of each service that is not well."""
        return {f.service: f.cure for f in diagnosis.examine(state.look(self.project), set())}

    def healer(self) -> heal.Healer:
        """Return somebody who heals it."""
        return heal.Healer(self.project, Console(), Interrupt())


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack in which all is well, and a folder of its own for the lock."""
    monkeypatch.setattr(process, "ROOT", tmp_path)
    return Stack(monkeypatch)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until its only item is changed."""
    now = [1000.0]

    def monotonic() -> float:
        now[0] += 0.001
        return now[0]

    monkeypatch.setattr(heal.time, "monotonic", monotonic)
    return now


def test_a_stack_that_is_well_is_left_alone(stack: Stack) -> None:
    stack.heals = False

    report = stack.healer().look()

    assert report.as_dict("project")["code"] == 0
    assert stack.done == []
    assert lock.holder(stack.project) == ""


@pytest.mark.parametrize(
    ("service", "facts", "cure"),
    [
        ("server1", KILLED, Cure.START),
        ("db", KILLED, Cure.START),
        ("haproxy", KILLED, Cure.START),
        ("worker", {**KILLED, "exit_code": 1}, Cure.START),
        ("server1", {**KILLED, "exit_code": 0}, Cure.RESPECT),
        ("server1", HUNG, Cure.RESTART),
        ("worker", HUNG, Cure.RESTART),
        ("db", HUNG, Cure.REPORT),
        ("haproxy", HUNG, Cure.REPORT),
    ],
)
def test_what_is_done_about_each_fault(
    stack: Stack, service: str, facts: dict[str, object], cure: Cure
) -> None:
    stack.change(service, **facts)

    assert stack.examined() == {service: cure}


@pytest.mark.parametrize(
    ("service", "facts"),
    [
        # Docker itself is at it.
        ("server1", {**KILLED, "status": "restarting"}),
        ("server1", {"health": "starting"}),
        ("server1", {"status": "paused", "running": True}),
        ("server1", {**KILLED, "status": "created", "exit_code": 0}),
        # A service that is meant to end.
        ("migrate", {**KILLED, "exit_code": 1}),
    ],
)
def test_what_needs_no_help(stack: Stack, service: str, facts: dict[str, object]) -> None:
    stack.change(service, **facts)

    assert stack.examined() == {}


@pytest.mark.parametrize("facts", [KILLED, HUNG])
@pytest.mark.parametrize("status", ["DRAIN", "MAINT"])
def test_a_drained_server_is_left_alone(
    stack: Stack, facts: dict[str, object], status: str
) -> None:
    stack.change("server1", **facts)
    stack.balancer["server1"] = replace(seen(status), name="server1")

    assert stack.examined() == {"server1": Cure.RESPECT}


def test_a_server_that_is_being_stopped_is_left_alone(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.change("server1", **HUNG, environ={"DRAIN_FILE": "/run/drain"})
    assert stack.examined() == {"server1": Cure.RESTART}

    asked: list[tuple[str, ...]] = []

    def execute(*command: str) -> process.Result:
        asked.append(command)
        return process.Result(0, "", "")

    monkeypatch.setattr(engine, "execute", execute)

    assert stack.examined() == {"server1": Cure.RESPECT}
    assert asked == [("server1", "test", "-e", "/run/drain")]


def test_what_a_person_stopped_stays_so_also_when_the_engine_forgets(stack: Stack) -> None:
    stack.change("server1", **KILLED)
    stack.stopped = {"server1"}
    healer = stack.healer()

    assert list(healer.look().left_alone) == ["server1"]
    stack.stopped = set()
    assert list(healer.look().left_alone) == ["server1"]
    # Another end is another matter.
    stack.change("server1", finished="later")
    assert healer.look().healed == ["server1"]


def test_what_ended_is_started_the_database_first(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    for service in ("haproxy", "server2", "db"):
        stack.change(service, **KILLED)

    report = stack.healer().look()

    assert stack.done == ["start db", "start server2", "start haproxy"]
    assert sorted(report.healed) == ["db", "haproxy", "server2"]
    said = capsys.readouterr().err
    assert "server2: it ended with exit code 137; starting it" in said
    assert "the last line" in said
    assert "server2: back in service" in said
    assert lock.holder(stack.project) == ""


def test_never_two_servers_are_restarted_at_once(stack: Stack) -> None:
    stack.change("server1", **HUNG)
    stack.change("server2", **HUNG)
    healer = stack.healer()

    healer.look()
    assert stack.done == ["restart server1"]
    healer.look()
    assert stack.done == ["restart server1", "restart server2"]


def test_the_last_server_in_service_is_not_restarted(stack: Stack) -> None:
    stack.change("server1", **HUNG)
    for server in ("server2", "server3"):
        stack.change(server, **{**KILLED, "exit_code": 0})

    report = stack.healer().look()

    assert stack.done == []
    assert "no other server is in service" in report.left_alone["server1"]
    assert report.as_dict("project")["code"] == 1


def test_what_ended_comes_before_what_hangs(stack: Stack) -> None:
    stack.change("server1", **HUNG)
    stack.change("server2", **KILLED)

    stack.healer().look()

    assert stack.done == ["start server2"]


def test_nothing_is_done_while_another_command_is_at_work(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.change("server1", **KILLED)
    healer = stack.healer()

    with lock.held(stack.project, "deploy"):
        with pytest.raises(StackctlError) as refused:
            healer.look()
        assert "`stackctl deploy` of" in refused.value.problem
        for _ in range(3):
            healer.look_without_fail()
    assert stack.done == []
    # Once, not at every look.
    assert capsys.readouterr().err.count("`stackctl deploy` of") == 1

    healer.look_without_fail()
    assert stack.done == ["start server1"]


def test_an_engine_that_does_not_answer_is_waited_for(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(_: compose.Project) -> dict[str, Container]:
        raise StackctlError("docker ps: no answer")

    healer = stack.healer()
    with monkeypatch.context() as patch:
        patch.setattr(compose.Project, "containers", away)
        healer.look_without_fail()
        healer.look_without_fail()

    assert capsys.readouterr().err.count("no answer; the next look tries again") == 1
    stack.change("server1", **KILLED)
    healer.look_without_fail()
    assert stack.done == ["start server1"]


def test_a_service_that_keeps_failing_is_tried_less_and_less_often(
    stack: Stack,
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(heal, "BACK_SECONDS", 0.05)
    stack.heals = False
    stack.change("worker", **KILLED)
    healer = stack.healer()

    tried_at: list[float] = []
    started = clock[0]
    while clock[0] < started + 2000:
        before = len(stack.done)
        healer.look()
        if len(stack.done) > before:
            tried_at.append(clock[0] - started)
        clock[0] += 1

    pauses = [round(after - before) for before, after in pairwise(tried_at)]
    expected = (10, 20, 40, 80, 160, 300, 300, 300)
    assert len(pauses) >= len(expected), pauses
    assert all(e <= p <= e + 3 for p, e in zip(pauses, expected, strict=False)), pauses
    said = capsys.readouterr().err
    assert "again soon after try 3; the next one comes 40 s after that" in said
    assert said.count("the next one comes 40 s") == 1


def test_earlier_tries_are_forgotten_after_a_service_stayed_well(
    stack: Stack, clock: list[float]
) -> None:
    healer = stack.healer()
    # More tries than WELL_SECONDS would excuse: the pause after the fourth is longer than that.
    for _ in range(6):
        stack.change("worker", **KILLED)
        healer.look()
        clock[0] += heal.WELL_SECONDS + 1
        healer.look()

    assert stack.done == ["start worker"] * 6


def test_a_refusal_of_the_engine_is_told(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.change("server1", **KILLED)
    monkeypatch.setattr(engine, "start", lambda _: process.Result(1, "", "port is taken"))

    report = stack.healer().look()

    assert report.failed == ["server1"]
    assert report.as_dict("project")["code"] == 1
    assert "server1: port is taken" in capsys.readouterr().err
