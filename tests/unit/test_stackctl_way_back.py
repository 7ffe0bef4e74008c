"""How a release ends when something is wrong in the middle: what runs then, and what is said."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from stackctl_cli import compose, deploy, engine, haproxy, process, record
from stackctl_cli.console import Console
from stackctl_cli.faults import (
    InterruptedByUserError,
    NotRolledBackError,
    RolledBackError,
    StackctlError,
)
from stackctl_cli.interrupt import Interrupt
from stackctl_cli.roll import Limits, Roll, ServerFailedError
from tests.unit.test_stackctl_parts import container

SERVERS = ("server1", "server2")
IMAGE = "mysite-production"


@dataclass
class Stack:
    """Two servers and a worker, and a HAProxy that knows who is drained."""

    runs: dict[str, str] = field(default_factory=lambda: dict.fromkeys((*SERVERS, "worker"), "old"))
    latest: str = "old"
    drained: set[str] = field(default_factory=set)
    interrupt: Interrupt = field(default_factory=Interrupt)
    # Called with the service whose container was made anew.
    after_recreate: Callable[[str], None] = lambda _: None

    @property
    def project(self) -> compose.Project:
        services = {name: {"image": IMAGE} for name in self.runs}
        return compose.Project("p", "production", {"services": {**services, "haproxy": {}}})

    def tag(self, image: str, _: str) -> None:
        self.latest = image

    def recreate(self, service: str) -> process.Result:
        self.runs[service] = self.latest
        self.after_recreate(service)
        return process.Result(0, "", "")

    def containers(self) -> dict[str, engine.Container]:
        return {
            name: container(id=name, service=name, image=image, environ={"RELEASE": image})
            for name, image in self.runs.items()
            if image
        }

    def servers(self) -> dict[str, haproxy.Server]:
        return {
            name: haproxy.Server(
                name, "DRAIN" if name in self.drained else "UP", "L7OK", "10.0.0.1", 0, 0, 0, 0
            )
            for name in SERVERS
        }

    def attempt(self) -> deploy.Attempt:
        return deploy.Attempt(self.project, "deploy", "new", Console(as_json=True), "new")

    def deploy(self, attempt: deploy.Attempt | None = None) -> None:
        """Bring the stack from the release `old` to `new`."""
        attempt = attempt or self.attempt()
        deploy._roll(attempt, haproxy.Balancer("haproxy"), self.interrupt, Limits())


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Stack:
    """A stack whose engine and HAProxy are in memory; the checks of a server find it well."""
    found = Stack()
    monkeypatch.setattr(process, "ROOT", tmp_path)
    monkeypatch.setattr(compose.Project, "containers", found.containers)
    monkeypatch.setattr(compose.Project, "recreate", found.recreate)
    monkeypatch.setattr(compose.Project, "runs", lambda _, name, image: found.runs[name] == image)
    monkeypatch.setattr(deploy.migrate, "keep_static", lambda *_: None)
    monkeypatch.setattr(engine, "tag", found.tag)
    monkeypatch.setattr(engine, "image_id", lambda _: found.latest)
    monkeypatch.setattr(haproxy.Balancer, "servers", found.servers)
    monkeypatch.setattr(haproxy.Balancer, "drain", lambda _, name: found.drained.add(name))
    monkeypatch.setattr(haproxy.Balancer, "ready", lambda _, name: found.drained.discard(name))
    monkeypatch.setattr(Roll, "_look_at_health", lambda _: frozenset())
    monkeypatch.setattr(engine, "image_release", lambda image: image)
    for check in ("_spare_second_drain", "_wait_healthy", "_wait_seen", "_check_itself"):
        monkeypatch.setattr(Roll, check, lambda *_: None)
    monkeypatch.setattr(Roll, "_check_through_balancer", lambda *_: None)
    monkeypatch.setattr("stackctl_cli.roll.POLL_SECONDS", 0)
    return found


def fails(stack: Stack, service: str, error: Exception, *others: Callable[[], None]) -> None:
    """Have the new release fail in a service; what else happens then comes first."""

    def check(name: str) -> None:
        if name == service and stack.runs[name] == "new":
            for other in others:
                other()
            raise error

    stack.after_recreate = check


def is_back(stack: Stack) -> bool:
    """Tell whether all runs the release of before, in service."""
    return set(stack.runs.values()) == {"old"} and not stack.drained and stack.latest == "old"


def test_a_release_that_is_well_is_everywhere(stack: Stack) -> None:
    stack.deploy()

    assert set(stack.runs.values()) == {stack.latest} == {"new"}
    assert [entry.outcome for entry in record.read(stack.project)] == ["ok"]


def test_an_interrupt_does_not_stop_the_way_back(stack: Stack) -> None:
    """Pressed while the release is failing, and once more on the way."""

    def press() -> None:
        stack.interrupt.asked = True

    fails(stack, "server2", ServerFailedError("server2", "it is unhealthy"), press)

    with pytest.raises(RolledBackError):
        stack.deploy()

    assert is_back(stack)


@pytest.mark.parametrize(
    "error",
    [StackctlError("docker does not answer"), IndexError("list index out of range"), OSError(5)],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("service", [*SERVERS, "worker"])
def test_whatever_goes_wrong_the_release_before_comes_back(
    stack: Stack, service: str, error: Exception
) -> None:
    fails(stack, service, error)

    with pytest.raises(RolledBackError):
        stack.deploy()

    assert is_back(stack)
    assert [entry.outcome for entry in record.read(stack.project)] == ["rolled back"]


def test_a_way_back_that_fails_in_one_server_goes_on_with_the_other(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody is left drained, who would be missed most then."""

    def drain(_: haproxy.Balancer, name: str) -> None:
        stack.drained.add(name)
        if stack.runs["server2"] == "new":
            raise StackctlError("Apache cannot be asked about it")

    monkeypatch.setattr(haproxy.Balancer, "drain", drain)
    fails(stack, "worker", StackctlError("no space left on device"))

    with pytest.raises(NotRolledBackError) as told:
        stack.deploy()

    assert not stack.drained and stack.latest == "old"
    assert stack.runs["worker"] == "old"
    assert "no space left" in told.value.problem and "Apache cannot be asked" in told.value.problem
    assert "server1 runs new, server2 runs new, worker runs old" in told.value.cure


def test_who_runs_what_is_told_without_haproxy(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_: haproxy.Balancer) -> None:
        raise StackctlError("HAProxy's admin socket does not answer")

    fails(
        *(stack, "server1", StackctlError("HAProxy ended")),
        lambda: monkeypatch.setattr(haproxy.Balancer, "servers", silent),
    )

    with pytest.raises(NotRolledBackError) as told:
        stack.deploy()

    assert "HAProxy ended" in told.value.problem
    assert told.value.cure.startswith("server1 runs new, server2 runs old, worker runs old")
    assert stack.latest == "old"


def test_a_service_without_a_container_gets_what_compose_would_have_started(stack: Stack) -> None:
    """Removed by hand while the image was built."""
    stack.runs["worker"] = ""
    fails(stack, "worker", ServerFailedError("worker", "it is unhealthy"))

    with pytest.raises(RolledBackError):
        stack.deploy()

    assert is_back(stack)


def test_a_record_that_cannot_be_written_changes_nothing_of_how_it_ended(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise StackctlError("No space left on device")

    monkeypatch.setattr(record, "append", full)

    stack.deploy()

    assert set(stack.runs.values()) == {"new"}
    assert "not in the record of releases" in capsys.readouterr().err


def test_what_stays_of_the_migrations_is_said(stack: Stack) -> None:
    attempt = stack.attempt()
    attempt.migrated = ("api.0003_more",)
    fails(stack, "server1", ServerFailedError("server1", "it is unhealthy"))

    with pytest.raises(RolledBackError) as told:
        stack.deploy(attempt)

    assert "api.0003_more" in told.value.cure


def test_an_interrupt_between_two_servers_says_what_each_runs(stack: Stack) -> None:
    def press(_: str) -> None:
        stack.interrupt.asked = True

    stack.after_recreate = press

    with pytest.raises(InterruptedByUserError) as told:
        stack.deploy()

    assert "server1 runs new, server2 runs old, worker runs old" in told.value.problem
    assert "./stackctl deploy goes on" in told.value.cure
    assert stack.latest == "old" and not stack.drained
