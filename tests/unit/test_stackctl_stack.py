"""`up`, `status`, `doctor` and `ready` of a faulty stack, with a fake engine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_stackctl_parts import balanced, container
from tools.stackctl import reports
from tools.stackctl.balancer import haproxy
from tools.stackctl.checks import preflight
from tools.stackctl.checks.check import Check
from tools.stackctl.commands import servers, stack
from tools.stackctl.common import process
from tools.stackctl.common.console import Console
from tools.stackctl.common.faults import StackctlError
from tools.stackctl.docker import compose, engine
from tools.stackctl.docker.engine import Container
from tools.stackctl.releases import deploy, refusals, release

KILLED = {"running": False, "status": "exited", "exit_code": 137, "health": "unhealthy"}
IMAGES = {"db": "mysql:9.7", "haproxy": "haproxy:3.0"}
SILENT = "HAProxy's admin socket does not answer: no answer within 10 s"
RUNNING = "sha256:1"
FRESH = "sha256:fresh0123456789"


class Stack:
    """A stack as the engine and the load balancer report it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Create a healthy stack."""
        names = ("server1", "server2", "server3", "worker", "haproxy", "db", "migrate")
        self.containers = {name: self.service(name) for name in names}
        once = {"restart_policy": "no", "running": False, "status": "exited", "health": "none"}
        self.change("migrate", **once)
        self.balancer = {name: replace(balanced("UP"), name=name) for name in names[:3]}
        services = {name: {"image": IMAGES.get(name, "fake-local")} for name in names}
        model = {"name": "project", "services": services}
        self.project = compose.Project("project", "local", model)
        monkeypatch.setattr(compose.Project, "containers", lambda _: dict(self.containers))
        monkeypatch.setattr(haproxy.Balancer, "servers", lambda _: dict(self.balancer))
        monkeypatch.setattr(engine, "last_lines", lambda *_: "the last line")
        monkeypatch.setattr(engine, "execute", lambda *_: process.Result(1, "", ""))

    def service(self, name: str) -> Container:
        """Return a healthy container."""
        return container(id=name, service=name, restart_policy="unless-stopped")

    def change(self, name: str, **facts: object) -> None:
        """Change a container; HAProxy marks its server down."""
        self.change_quietly(name, **facts)
        if name.startswith("server"):
            self.balancer[name] = replace(balanced("DOWN"), name=name)

    def change_quietly(self, name: str, **facts: object) -> None:
        """Change a container without a change in HAProxy."""
        self.containers[name] = replace(self.containers[name], **facts)  # type: ignore[arg-type]


class Machine(Stack):
    """A stack on a machine with images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Create a stack whose servers run release `old`, which compose would start."""
        super().__init__(monkeypatch)
        # By name; other services run their own images.
        self.images = {"fake-local:latest": RUNNING, "fake-local:old": RUNNING}
        self.built_as = {RUNNING: "old", FRESH: "unreleased"}
        self.hashes = dict.fromkeys(self.containers, "present")
        self.starts = True
        self.recreated: bool | None = None
        for name in self.containers:
            self.containers[name] = container(
                id=name, service=name, config_hash="present", environ={"RELEASE": "old"}
            )
        services = {
            **self.project.services,
            "haproxy": {"image": "haproxy:3.0", "ports": [{"target": 8080, "published": "80"}]},
        }
        model = {"name": "project", "services": services}
        self.project = compose.Project("project", "local", model)
        monkeypatch.setattr(preflight, "require", lambda _: self.project)
        monkeypatch.setattr(preflight, "examine", lambda *_: ([Check("engine")], None))
        monkeypatch.setattr(stack, "load", lambda: self.project)
        monkeypatch.setattr(engine, "image_id", lambda name: self.images.get(name, ""))
        monkeypatch.setattr(engine, "tag", self.tag)
        monkeypatch.setattr(engine, "tags", self.tags)
        monkeypatch.setattr(engine, "image_release", lambda image: self.built_as[image])
        monkeypatch.setattr(engine, "containers", lambda *_: list(self.containers.values()))
        monkeypatch.setattr(engine, "exit_code", lambda _: 0)
        monkeypatch.setattr(compose.Project, "config_hash", lambda _, name: self.hashes[name])
        monkeypatch.setattr(compose.Project, "config_hashes", lambda _: self.hashes)
        monkeypatch.setattr(compose.Project, "up", self.start)
        monkeypatch.setattr(release, "from_git", lambda: release.Name("new"))
        monkeypatch.setattr(deploy, "build", self.build)
        monkeypatch.setattr(stack, "_site", lambda *_, **__: Check("site", "answers"))

    def tag(self, image: str, name: str) -> None:
        """Tag an image."""
        self.images[name] = image

    def tags(self, repository: str) -> dict[str, str]:
        """Return the tags of a repository."""
        return {
            name.partition(":")[2]: image
            for name, image in self.images.items()
            if name.startswith(f"{repository}:")
        }

    def build(self, _: compose.Project, name: str, *__: object) -> str:
        """Add an image of a release."""
        self.images[f"fake-local:{name}"] = FRESH
        self.built_as[FRESH] = name
        return FRESH

    def start(self, *_: object, recreate: bool) -> process.Result:
        """Start the services that compose would start."""
        self.recreated = recreate
        if recreate and self.starts:
            for name in (*self.project.servers, *self.project.workers):
                image = self.images["fake-local:latest"]
                environ = {"RELEASE": self.built_as[image]}
                self.containers[name] = replace(self.containers[name], image=image, environ=environ)
        return process.Result(0 if self.starts else 1, "", "")

    def up(self, *, build: bool = False) -> dict[str, Any]:
        """Run `stackctl up`."""
        return stack.up(Console(as_json=True), build=build)

    def checks(self) -> dict[str, Check]:
        """Return the checks of `stackctl doctor` for the stack."""
        return {check.name: check for check in stack._stack_checks(self.project)}

    def silence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let HAProxy run without answering."""

        def servers(_: haproxy.Balancer) -> dict[str, haproxy.BalancedServer]:
            raise StackctlError(SILENT, "Is haproxy running?")

        monkeypatch.setattr(haproxy.Balancer, "servers", servers)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a healthy stack with its own folder."""
    monkeypatch.setattr(process, "ROOT", tmp_path)
    return Machine(monkeypatch)


def test_up_of_a_healthy_stack_changes_nothing(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    images = dict(machine.images)

    assert machine.up()["code"] == 0

    assert machine.recreated is True
    assert machine.images == images
    output = capsys.readouterr().err
    assert "warning" not in output and "http://localhost:80/" in output


def test_up_and_doctor_warn_of_a_redirect_to_https_without_a_certificate(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    production = compose.Project("project", "production", machine.project.model)
    machine.project = production
    monkeypatch.setattr(preflight, "examine", lambda *_: ([Check("engine")], production))

    assert machine.up()["code"] == 0
    assert "every page redirects to https" in capsys.readouterr().err
    rows = stack.doctor(Console(as_json=True))["checks"]
    assert "DJANGO_SECURE_SSL_REDIRECT" in [row["name"] for row in rows if not row["ok"]]


def test_up_build_tags_the_running_image_with_its_release(machine: Machine) -> None:
    del machine.images["fake-local:old"]

    machine.up(build=True)

    assert machine.images["fake-local:old"] == RUNNING


def test_up_keeps_and_tags_an_image_built_without_stackctl(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.images["fake-local:latest"] = FRESH

    machine.up()

    assert machine.images["fake-local:latest"] == RUNNING
    assert machine.images["fake-local:unreleased"] == FRESH
    output = capsys.readouterr().err
    assert "a deploy was interrupted, or an image was built without stackctl" in output
    assert "old runs, and is started; the other one is kept as fake-local:unreleased" in output


def test_up_does_not_overwrite_the_tag_of_another_image(machine: Machine) -> None:
    machine.images["fake-local:latest"] = FRESH
    machine.images["fake-local:unreleased"] = "sha256:another"

    machine.up()

    assert machine.images["fake-local:unreleased"] == "sha256:another"
    assert machine.images["fake-local:unreleased-fresh0123456"] == FRESH


def test_up_adds_no_tag_to_a_tagged_image(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.images |= {"fake-local:latest": FRESH, "fake-local:cut-off": FRESH}

    machine.up()

    assert "the other one is kept as fake-local:cut-off" in capsys.readouterr().err
    assert "fake-local:unreleased" not in machine.images


def test_up_without_a_latest_image_tags_the_running_one_and_does_not_build(
    machine: Machine,
) -> None:
    del machine.images["fake-local:latest"]

    machine.up()

    assert machine.images["fake-local:latest"] == RUNNING
    assert "fake-local:new" not in machine.images


@pytest.mark.parametrize("service", ["haproxy", "db"])
def test_up_does_not_recreate_haproxy_or_database_and_names_the_command(
    machine: Machine, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.hashes[service] = "another"

    machine.up()

    assert machine.recreated is False
    output = capsys.readouterr().err
    assert f"{service} keeps its configuration" in output
    assert f"docker compose up --detach --no-deps {service} applies" in output
    assert "the running servers keep" not in output


def test_up_recreates_a_worker_with_another_configuration(machine: Machine) -> None:
    machine.hashes["worker"] = "another"

    machine.up()

    assert machine.recreated is True


def test_up_recreates_a_haproxy_that_is_down(machine: Machine) -> None:
    machine.hashes["haproxy"] = "another"
    machine.change("haproxy", **KILLED)

    machine.up()

    assert machine.recreated is True


def test_server_unknown_to_haproxy_is_reported_with_the_command(machine: Machine) -> None:
    del machine.balancer["server3"]
    command = "docker compose up --detach --no-deps haproxy"

    for change in (
        lambda: servers.ready(Console(as_json=True), "server3"),
        lambda: servers.drain(Console(as_json=True), "server3", force=False),
    ):
        with pytest.raises(StackctlError, match="HAProxy does not know server3") as refused:
            change()
        assert refused.value.hint.endswith(command)
    assert machine.checks()["server3"].hint.endswith(command)
    # A deploy reports the same.
    with pytest.raises(StackctlError) as refusal:
        refusals.require_whole_stack(machine.project, cut_off=False)
    assert refusal.value.hint == f"{refused.value.problem}: {refused.value.hint}"


def test_doctor_without_haproxy_reports_no_unknown_server(machine: Machine) -> None:
    machine.change("haproxy", **KILLED)
    machine.balancer.clear()

    checks = machine.checks()
    assert checks["server1"].fact == "healthy, release old; HAProxy's view is not known"
    assert "./stackctl up" in checks["haproxy"].hint


def test_doctor_reports_container_state_when_haproxy_does_not_answer(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.silence(monkeypatch)
    machine.change("server2", **KILLED)

    checks = machine.checks()

    assert checks["server1"].fact == "healthy, release old; HAProxy's view is not known"
    assert checks["server2"].problem == "it ended: exit code 137; its last line: the last line"
    assert SILENT in checks["haproxy"].problem and "restart haproxy" in checks["haproxy"].hint
    assert checks["site"].ok


def test_status_reports_container_state_when_haproxy_does_not_answer(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.silence(monkeypatch)

    result = reports.status(Console(), watch=False, seconds=1)

    shown = capsys.readouterr().out
    assert "server1" in shown and "not known" in shown and SILENT in shown
    assert result["haproxy_silent"] == SILENT
    assert result["servers"][0]["state"] == "healthy"
    assert result["code"] == 1

    monkeypatch.setattr(reports.time, "sleep", _ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        reports.status(Console(), watch=True, seconds=1)
    assert (
        f"server3 healthy old; haproxy: its view of the servers is not known: {SILENT}"
        in capsys.readouterr().out
    )


def _ctrl_c(_: float) -> None:
    raise KeyboardInterrupt


def test_doctor_reports_a_service_with_several_containers(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [container(service="worker") for _ in range(3)]
    monkeypatch.setattr(engine, "containers", lambda *_: [container(), *workers])

    check = machine.checks()["worker"]

    assert "3 containers" in check.problem and "WORKER_CONCURRENCY" in check.hint
