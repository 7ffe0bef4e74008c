"""A deploy: migrate, then replace the servers and the worker one at a time.

A container stops when the next one is healthy.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from tools.swarmctl import docker_secrets
from tools.swarmctl.checks import check
from tools.swarmctl.engine import (
    Json,
    SwarmctlError,
    active_nodes,
    compose_config,
    docker,
    inspect,
    show_logs,
    tasks_of,
)
from tools.swarmctl.stack import stack_of

# Deployed first, so that new servers find their tables and static files.
BEFORE: Final = ("db", "redis", "broker", "migrate")
# Then these, each when the one before it runs; the worker last, as in `stackctl deploy`.
ROLLING: Final = ("server", "haproxy", "worker")
POLL_SECONDS: Final = 0.5
# A service without a former release to go back to is given up after this many failures.
FIRST_TRIES: Final = 3
FAILED: Final = ("failed", "rejected")
ROLLED_BACK: Final = ("rollback_completed", "rollback_paused", "paused")


class RolledBackError(SwarmctlError):
    """Swarm has brought the former release back."""

    # As of `stackctl deploy`.
    code = 3


def deploy(image: str) -> None:
    """Deploy an image, or change settings with the one that runs.

    Raises:
        SwarmctlError: no server was changed.
        RolledBackError: the release was not healthy.
    """
    nodes = active_nodes()
    config = compose_config()
    name = config["name"]
    values = docker_secrets.values_of(config)
    check(config, nodes, {*values, *docker_secrets.latest(name)})
    stack = stack_of(config, image, docker_secrets.update(name, values))
    _apply(name, stack, *BEFORE)
    _wait_for_migrations(f"{name}_migrate")
    released: list[str] = []
    for service in ROLLING:
        _apply(name, stack, service)
        try:
            _wait_for_release(f"{name}_{service}")
        except RolledBackError:
            for former in released:
                docker("service", "rollback", "--quiet", former)
            raise
        print(f"{service}: {stack['services'][service]['image']}", flush=True)
        released.append(f"{name}_{service}")


def _apply(name: str, stack: Json, *services: str) -> None:
    some = {key: each for key, each in stack["services"].items() if key in services}
    # An image of the same name stays the one that was pulled: a deploy restarts no database.
    options = ("--with-registry-auth", "--resolve-image=changed", "--detach", "--compose-file=-")
    print(
        docker("stack", "deploy", *options, name, given=json.dumps({**stack, "services": some})),
        end="",
        flush=True,
    )


def _wait_for_migrations(service: str) -> None:
    """Wait until the job has ended on every machine.

    Raises:
        SwarmctlError: it failed on one.
    """
    (job,) = inspect("service", service)
    print("Migrating", flush=True)
    while True:
        tasks = [
            task
            for task in tasks_of(service)
            if task["JobIteration"] == job["JobStatus"]["JobIteration"]
        ]
        for task in tasks:
            if task["Status"]["State"] in FAILED:
                show_logs([task])
                raise SwarmctlError("the migrations failed (above), so no server was changed")
        if tasks and all(task["Status"]["State"] == "complete" for task in tasks):
            return
        time.sleep(POLL_SECONDS)


def _wait_for_release(service: str) -> None:
    """Wait until a service runs what it should.

    Raises:
        SwarmctlError: it had no former release, and does not start.
        RolledBackError: Swarm has brought the former release back.
    """
    while not _is_released(service):
        time.sleep(POLL_SECONDS)


def _is_released(service: str) -> bool:
    (given,) = inspect("service", service)
    tasks = tasks_of(service)
    # Each `docker stack deploy` empties it.
    update: Json = given.get("UpdateStatus") or {}
    state = update.get("State")
    ended = [task for task in tasks if task["DesiredState"] != "running"]
    if state in ROLLED_BACK:
        show_logs(ended[:1])
        raise RolledBackError(f"{service} was not healthy (above): {update['Message']}")
    wanted = [task for task in tasks if task["DesiredState"] == "running"]
    if (
        state in (None, "completed")
        and len(wanted) == given["Spec"]["Mode"]["Replicated"]["Replicas"]
        and all(task["Status"]["State"] == "running" for task in wanted)
        and all(_matches(task["Spec"], given["Spec"]["TaskTemplate"]) for task in wanted)
    ):
        return True
    failed = [task for task in ended if task["Status"]["State"] in FAILED]
    if state is None and len(failed) >= FIRST_TRIES:
        show_logs(failed[:1])
        raise SwarmctlError(f"{service} does not start (above)")
    return False


def _matches(task: Any, service: Any) -> bool:
    """Return whether a task runs what its service describes, which has the defaults too."""
    if isinstance(task, dict) and isinstance(service, dict):
        return all(_matches(value, service.get(key)) for key, value in task.items() if value)
    return bool(task == service)
