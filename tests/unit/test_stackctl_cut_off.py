"""A deploy or a rollback that ends at any of its steps: `rollback` then ends on what served before.

Each test walks through all steps of the command, and has it interrupted, killed or crash there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mysite.environment import dotenv
from stackctl_cli import (
    compose,
    deploy,
    engine,
    haproxy,
    migrate,
    preflight,
    process,
    record,
    refusals,
    release,
    rotate,
)
from stackctl_cli import stack as stacks
from stackctl_cli.console import Console
from stackctl_cli.faults import InterruptedByUserError, StackctlError
from stackctl_cli.roll import Limits, Roll
from tests.unit.conftest import Kept
from tests.unit.test_stackctl_parts import container

SERVERS = ("server1", "server2")
SERVICES = (*SERVERS, "worker")
IMAGE = "mysite-production"


class Killed(BaseException):
    """The end of the process, as by kill -9."""


@dataclass
class Stack:
    """Two servers, a worker, HAProxy and the images, in memory; each change of them is a step."""

    runs: dict[str, str] = field(default_factory=lambda: dict.fromkeys(SERVICES, "A"))
    # The newest first.
    images: dict[str, str] = field(default_factory=lambda: {"A": "A", "latest": "A"})
    drained: set[str] = field(default_factory=set)
    asked: bool = False
    is_present: bool = True
    # Called before and after each step.
    at: Callable[[int], None] = lambda _: None
    count: int = 0

    project = compose.Project(
        "p",
        "production",
        {"services": {**{name: {"image": IMAGE} for name in SERVICES}, "haproxy": {}}},
    )

    def step(self, change: Callable[[], object]) -> None:
        """Change something, unless the command ends before."""
        self.at(self.count)
        change()
        self.at(self.count + 1)
        self.count += 2

    def tag(self, image: str, name: str) -> None:
        tag = name.rpartition(":")[2]
        self.step(lambda: self.images.update({tag: image}))

    def untag(self, name: str) -> bool:
        self.step(lambda: self.images.pop(name.rpartition(":")[2]))
        return True

    def build(self, _: compose.Project, name: str, *__: object) -> str:
        def change() -> None:
            self.images = {name: name, **self.images}

        self.step(change)
        if self.asked:
            raise InterruptedByUserError("interrupted while building")
        return name

    def recreate(self, service: str) -> process.Result:
        """Stop a container, which is a moment when it is down, and start another."""
        self.step(lambda: self.runs.pop(service, None))
        self.step(lambda: self.runs.update({service: self.images["latest"]}))
        return process.Result(0, "", "")

    def has(self, name: str, image: str) -> bool:
        return self.is_present and self.runs.get(name) == image

    def containers(self) -> dict[str, engine.Container]:
        return {
            name: container(id=name, service=name, image=image, environ={"RELEASE": image})
            for name, image in (*self.runs.items(), ("haproxy", "h"))
        }

    def servers(self) -> dict[str, haproxy.Server]:
        return {name: self.server(name) for name in SERVERS}

    def server(self, name: str) -> haproxy.Server:
        status = "DRAIN" if name in self.drained else "UP" if name in self.runs else "DOWN"
        return haproxy.Server(name, status, "L7OK", "10.0.0.1", 0, 0, 0, 0)

    def whole_on(self, release: str) -> bool:
        """Tell whether everything runs a release, in service, and compose would start it."""
        same = self.runs == dict.fromkeys(SERVICES, release)
        return same and not self.drained and self.images["latest"] == release

    def deploy(self, name: str) -> None:
        deploy.deploy(Console(as_json=True), deploy.Wish(name))

    def rotate(self) -> None:
        rotate.rotate(Console(as_json=True), "secret-key", Limits())

    def rollback(self) -> None:
        deploy.rollback(Console(as_json=True), "", Limits())


class Interrupt:
    """A person's Ctrl-C, as the stack's test presses it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    @property
    def asked(self) -> bool:
        return self.stack.asked

    @contextmanager
    def noted(self, _: object) -> Iterator[None]:
        yield


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, kept: Kept) -> Callable[[], Stack]:
    """Return what makes a stack on release B that ran A before, each with a record of its own."""

    def make() -> Stack:
        stack = Stack()
        kept.records.clear()
        for owner, name, fake in (
            (preflight, "require", lambda: stack.project),
            (deploy, "Interrupt", lambda: Interrupt(stack)),
            (rotate, "Interrupt", lambda: Interrupt(stack)),
            (stacks, "load", lambda: stack.project),
            (deploy, "build", stack.build),
            (compose.Project, "containers", stack.containers),
            (compose.Project, "recreate", stack.recreate),
            (compose.Project, "runs", stack.has),
            (engine, "tag", stack.tag),
            (engine, "untag", stack.untag),
            (engine, "tags", lambda _: dict(stack.images)),
            (engine, "image_id", lambda name: stack.images.get(name.rpartition(":")[2], "")),
            (haproxy.Balancer, "servers", stack.servers),
            (
                haproxy.Balancer,
                "drain",
                lambda _, name: stack.step(lambda: stack.drained.add(name)),
            ),
            (
                *(haproxy.Balancer, "ready"),
                lambda _, name: stack.step(lambda: stack.drained.discard(name)),
            ),
            (migrate, "run", lambda *_: stack.step(lambda: None)),
            (migrate, "keep_static", lambda *_: stack.step(lambda: None)),
            (record, "append", lambda *entry: stack.step(lambda: append(*entry))),
        ):
            monkeypatch.setattr(owner, name, fake)
        stack.deploy("B")
        return stack

    append = record.append
    monkeypatch.setattr(process, "ROOT", tmp_path)
    for check in ("require_present_balancer", "require_backing"):
        monkeypatch.setattr(refusals, check, lambda *_: None)
    monkeypatch.setattr(migrate, "look", lambda *_, **__: migrate.Plan(("a.0001",), ("a.0002",)))
    monkeypatch.setattr(engine, "image_release", lambda image: image)
    monkeypatch.setattr(Roll, "_look_at_health", lambda _: frozenset())
    for check in ("_spare_second_drain", "_wait_healthy", "_wait_seen", "_check_itself"):
        monkeypatch.setattr(Roll, check, lambda *_: None)
    monkeypatch.setattr(Roll, "_check_through_balancer", lambda *_: None)
    monkeypatch.setattr("stackctl_cli.roll.POLL_SECONDS", 0)
    return make


def moments_of_a_deploy(machine: Callable[[], Stack]) -> range:
    """Return the moments at which a deploy may end: before each of its steps."""
    stack = machine()
    stack.count = 0
    stack.deploy("C")
    assert stack.count > 30
    return range(0, stack.count, 2)


def end_at(
    stack: Stack, moment: int, how: str, command: Callable[..., None], *arguments: str
) -> None:
    """Run a command that ends at a moment: by Ctrl-C, by kill -9, or by a fault of its own."""

    def at(now: int) -> None:
        if how == "kill" and now >= moment:
            raise Killed
        if how == "crash" and now >= moment and not crashed:
            crashed.append(now)
            raise RuntimeError("a fault of stackctl")
        stack.asked = how == "interrupt" and now >= moment

    crashed: list[int] = []
    stack.count, stack.at = 0, at
    try:
        command(*arguments)
    except (Killed, RuntimeError, StackctlError):
        pass
    finally:
        stack.at, stack.asked = lambda _: None, False


@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_rollback_after_a_deploy_that_ended_at_any_step(
    machine: Callable[[], Stack], how: str
) -> None:
    for moment in moments_of_a_deploy(machine):
        stack = machine()
        end_at(stack, moment, how, stack.deploy, "C")
        ended = record.read(stack.project)[-1]

        stack.rollback()
        if ended.outcome != "ok":
            assert stack.whole_on("B"), (moment, stack, ended)
            stack.rollback()
            assert stack.whole_on("A"), (moment, stack, ended)
        stack.deploy("C")
        assert stack.whole_on("C"), (moment, stack, ended)


@pytest.mark.parametrize("how", ["interrupt", "kill", "crash"])
def test_a_deploy_that_ended_at_any_step_is_resumed_by_deploy(
    machine: Callable[[], Stack], how: str
) -> None:
    for moment in moments_of_a_deploy(machine):
        stack = machine()
        end_at(stack, moment, how, stack.deploy, "C")
        if how == "crash":
            assert stack.whole_on("B") or stack.whole_on("C"), (moment, stack)

        stack.deploy("C")

        assert stack.whole_on("C"), (moment, stack)
        stack.rollback()
        assert stack.whole_on("B"), (moment, stack)


@pytest.mark.parametrize("how", ["interrupt", "kill"])
@pytest.mark.parametrize("half_way", [10, 20, 30])
def test_a_rollback_that_ended_at_any_step_is_resumed_by_rollback(
    machine: Callable[[], Stack], how: str, half_way: int
) -> None:
    """One of an unfinished deploy, and one of a deploy that ended well."""
    for moment in range(0, 60, 2):
        stack = machine()
        end_at(stack, half_way, "kill", stack.deploy, "C")
        end_at(stack, moment, how, stack.rollback)
        if record.unfinished(stack.project):
            stack.rollback()
        assert stack.whole_on("B"), (moment, stack)

        end_at(stack, moment, how, stack.rollback)
        if record.unfinished(stack.project):
            stack.rollback()
        assert stack.whole_on("A") or stack.whole_on("B"), (moment, stack)


@pytest.mark.parametrize("later", ["interrupt", "kill", "crash"])
@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_an_unfinished_rollback_is_resumed_whatever_became_of_a_deploy_after_it(
    machine: Callable[[], Stack], how: str, later: str
) -> None:
    for moment in range(0, 60, 2):
        stack = machine()
        end_at(stack, 14, how, stack.rollback)
        assert record.unfinished(stack.project)
        end_at(stack, moment, later, stack.deploy, "C")
        ended = record.read(stack.project)[-1]

        stack.rollback()

        assert stack.whole_on("B" if ended.outcome == "ok" else "A"), (moment, stack, ended)


@pytest.mark.parametrize("resume", [Stack.rotate, Stack.deploy, Stack.rollback])
@pytest.mark.parametrize("how", ["interrupt", "kill", "crash"])
def test_a_rotation_that_ended_at_any_step_leaves_no_server_out_and_is_no_release(
    machine: Callable[[], Stack],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    how: str,
    resume: Callable[..., None],
) -> None:
    env = tmp_path / ".env"
    env.touch()
    monkeypatch.setattr(compose.Project, "environment", lambda *_: dict(dotenv.read(env).values))
    for moment in range(0, 60, 2):
        stack = machine()
        # Every service is recreated.
        stack.is_present = False
        end_at(stack, moment, how, stack.rotate)

        resume(stack, *["C"] * (resume == Stack.deploy))

        release = {Stack.rotate: "B", Stack.deploy: "C", Stack.rollback: "A"}[resume]
        assert stack.whole_on(release), (moment, stack)


def test_of_servers_that_differ_without_a_record_the_first_built_served_before(
    machine: Callable[[], Stack], kept: Kept
) -> None:
    stack = machine()
    end_at(stack, 20, "kill", stack.deploy, "C")
    assert set(stack.runs.values()) == {"B", "C"}
    kept.records.clear()
    stack.drained.clear()

    stack.rollback()

    assert stack.whole_on("B")


def test_a_drain_by_hand_after_an_interrupt_is_refused(machine: Callable[[], Stack]) -> None:
    """Only an attempt that was cut off may have left a server drained."""
    stack = machine()
    end_at(stack, 14, "interrupt", stack.deploy, "C")
    assert record.read(stack.project)[-1].outcome == "interrupted"
    stack.drained = {"server1"}

    with pytest.raises(StackctlError, match="not every server is in service"):
        stack.rollback()


def test_what_never_served_is_not_offered_and_its_image_goes(
    machine: Callable[[], Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that the gate refuses, and one that was cut off."""
    stack = machine()
    end_at(stack, 20, "kill", stack.deploy, "C")
    stack.rollback()
    assert "C" not in stack.images

    def refuse(*_: object, **__: object) -> None:
        raise StackctlError("the running release cannot live with these migrations")

    monkeypatch.setattr(migrate, "gate", refuse)
    with pytest.raises(StackctlError, match="cannot live"):
        stack.deploy("D")
    assert "D" not in stack.images
    stack.images["D"] = "D"
    assert set(release.offered(stack.project)) == {"A", "B"}
    with pytest.raises(StackctlError, match="'D' that served") as refused:
        deploy.rollback(Console(as_json=True), "D", Limits())
    assert refused.value.cure == "There are: B, A."
    assert record.read(stack.project)[-1].outcome == "failed"
    # It is no step of the way back.
    stack.rollback()
    assert stack.whole_on("A")


def test_an_image_that_cannot_be_built_is_on_record_as_failed(
    machine: Callable[[], Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = machine()

    def fail(*_: object) -> str:
        raise StackctlError("the image cannot be built; nothing was changed")

    monkeypatch.setattr(deploy, "build", fail)
    with pytest.raises(StackctlError, match="cannot be built"):
        stack.deploy("C")

    assert [entry.outcome for entry in record.read(stack.project)] == ["found", "ok", "failed"]
