"""How `./swarmctl deploy` waits for each service, and what follows a failure."""

from collections.abc import Callable
from typing import Any

import pytest

from tools.swarmctl import cli, docker_secrets, rollout
from tools.swarmctl.engine import Json, SwarmctlError


def task(state: str, wanted: str = "running", image: str = "shop:v2") -> Json:
    """Return a task as the engine describes it."""
    return {
        "ID": state,
        "Status": {"State": state, "Err": ""},
        "DesiredState": wanted,
        "Spec": {"ContainerSpec": {"Image": image, "DNSConfig": None}},
    }


def service(replicas: int = 1, **update: str) -> Json:
    """Return a service as the engine describes it."""
    return {
        "Spec": {
            "TaskTemplate": {"ContainerSpec": {"Image": "shop:v2", "DNSConfig": {}}},
            "Mode": {"Replicated": {"Replicas": replicas}},
        },
        "UpdateStatus": update,
    }


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Callable[[Json, list[Json]], bool]:
    """Return a function that says whether a service with these tasks is released."""

    def ask(given: Json, tasks: list[Json]) -> bool:
        monkeypatch.setattr(rollout, "inspect", lambda kind, name: [given])
        monkeypatch.setattr(rollout, "tasks_of", lambda name: tasks)
        monkeypatch.setattr(rollout, "show_logs", lambda tasks: None)
        return rollout._is_released("shop_server")

    return ask


@pytest.mark.parametrize(
    ("given", "tasks", "released"),
    [
        (service(), [task("running")], True),
        (service(), [task("starting")], False),
        (service(2), [task("running")], False),
        # Right after `docker stack deploy`, when no update has begun.
        (service(), [task("running", image="shop:v1")], False),
        (service(State="updating"), [task("running")], False),
        (service(State="completed"), [task("running"), task("shutdown", "shutdown")], True),
        # Failures of the past.
        (service(), [task("running"), *[task("failed", "shutdown")] * 3], True),
    ],
)
def test_service_is_released_when_all_its_containers_run_the_release(
    described: Callable[[Json, list[Json]], bool], given: Json, tasks: list[Json], released: bool
) -> None:
    assert described(given, tasks) is released


def test_rollback_by_swarm_has_the_exit_code_of_a_rollback(
    described: Callable[[Json, list[Json]], bool],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def deploy(image: str) -> None:
        described(service(State="rollback_completed", Message="rollback completed"), [])

    monkeypatch.setattr(cli, "deploy", deploy)
    assert cli.main(["deploy", "shop:v2"]) == 3
    assert capsys.readouterr().err == (
        "swarmctl: shop_server was not healthy (above): rollback completed\n"
    )


def test_service_that_never_starts_is_given_up(
    described: Callable[[Json, list[Json]], bool],
) -> None:
    with pytest.raises(SwarmctlError, match="does not start"):
        described(service(), [task("starting"), *[task("failed", "shutdown")] * 3])


def test_worker_that_fails_brings_back_the_former_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []

    def wait(name: str) -> None:
        if name == "shop_worker":
            raise rollout.RolledBackError("no")

    given = {"name": "shop", "services": {}}
    made = {"services": {name: {"image": "x"} for name in ("server", "worker", "haproxy")}}
    monkeypatch.setattr(rollout, "active_nodes", list)
    monkeypatch.setattr(rollout, "compose_config", lambda: given)
    monkeypatch.setattr(rollout, "check", lambda *_: None)
    monkeypatch.setattr(rollout, "stack_of", lambda *_: made)
    for name in ("values_of", "latest", "update"):
        monkeypatch.setattr(docker_secrets, name, lambda *_: {})
    monkeypatch.setattr(rollout, "_apply", lambda name, stack, *services: ran.append(services))
    monkeypatch.setattr(rollout, "_wait_for_migrations", lambda name: None)
    monkeypatch.setattr(rollout, "_wait_for_release", wait)
    monkeypatch.setattr(rollout, "docker", lambda *arguments: ran.append(arguments))

    with pytest.raises(rollout.RolledBackError):
        rollout.deploy("shop:v2")
    assert ran == [
        rollout.BEFORE,
        ("server",),
        ("haproxy",),
        ("worker",),
        ("service", "rollback", "--quiet", "shop_server"),
        ("service", "rollback", "--quiet", "shop_haproxy"),
    ]
