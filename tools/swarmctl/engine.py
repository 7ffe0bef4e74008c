"""The docker client of the machine that manages the swarm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
FILES: Final = "docker-compose.yaml:variants/swarm/compose.yaml"
Json = dict[str, Any]


class SwarmctlError(Exception):
    """The command cannot be done; its text says why, and what to do."""

    code = 1


def docker(
    *arguments: str, given: str | None = None, environment: dict[str, str] | None = None
) -> str:
    """Run `docker`, and return its output; what it reports goes to standard error.

    Args:
        arguments: the command.
        given: its standard input.
        environment: variables in place of this process's own.

    Raises:
        SwarmctlError: it failed.
    """
    command = ["docker", *arguments]
    done = subprocess.run(  # noqa: S603 (no shell)
        command,
        cwd=ROOT,
        env=environment,
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SwarmctlError(
            f"`{' '.join(command)}` failed with exit code {done.returncode} (above)"
        )
    return done.stdout


def inspect(kind: str, *names: str) -> list[Json]:
    """Return the descriptions of nodes or services."""
    objects: list[Json] = json.loads(docker("inspect", "--type", kind, *names)) if names else []
    return objects


def active_nodes() -> list[Json]:
    """Return the machines of the swarm that run containers.

    Raises:
        SwarmctlError: this machine manages no swarm.
    """
    if docker("info", "--format", "{{.Swarm.ControlAvailable}}").strip() != "true":
        raise SwarmctlError(
            "This machine manages no swarm. Run: docker swarm init --advertise-addr ADDRESS"
        )
    nodes = inspect("node", *docker("node", "ls", "--quiet").split())
    return [node for node in nodes if node["Spec"]["Availability"] == "active"]


def tasks_of(service: str) -> list[Json]:
    """Return the tasks of a service, the newest first, ended ones too."""
    names = docker("service", "ps", "--quiet", "--no-trunc", service).split()
    command = ["docker", "inspect", "--type", "task", *names]
    # It fails when Swarm has just removed an old one, and prints the others.
    done = subprocess.run(  # noqa: S603 (no shell)
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    tasks: list[Json] = json.loads(done.stdout or "[]")
    return sorted(tasks, key=lambda task: str(task["CreatedAt"]), reverse=True)


def compose_config() -> Json:
    """Return the services with the variables of `.env`, from the same files as on one machine."""
    environment = {"COMPOSE_FILE": FILES, **os.environ, "LAYER": "production"}
    text = docker("compose", "config", "--format", "json", environment=environment)
    config: Json = json.loads(text)
    return config


def show_logs(tasks: list[Json]) -> None:
    """Print why tasks failed, and the last lines of their logs."""
    for task in tasks:
        print(task["Status"].get("Err", ""), file=sys.stderr)
        print(docker("service", "logs", "--raw", "--tail", "30", task["ID"]), file=sys.stderr)
