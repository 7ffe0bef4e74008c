"""A command in a running container, at this terminal: `exec` and `shell`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from ..common import process
from ..common.faults import StackctlError, UsageError
from ..docker import compose, engine
from . import stack
from .logs import require_service

# Stands for any server that runs.
ANY_SERVER = "server"


def execute(service: str, command: Sequence[str]) -> NoReturn:
    """Become a command in a service's container; its exit code is the command's.

    Args:
        service: its name, or `server` for any server that runs.
        command: the program and its arguments.

    Raises:
        StackctlError: no command is named, there is no such service, or it does not run.
    """
    if not command:
        raise UsageError("no command is named", "Such as: ./stackctl exec server ./manage.py check")
    container = running(stack.load(), service)
    terminal = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    process.become("docker", "exec", "--interactive", *terminal, container.id, *command)


def shell(arguments: Sequence[str]) -> NoReturn:
    """Become Django's shell in a server that runs.

    Raises:
        StackctlError: none runs.
    """
    execute(ANY_SERVER, ["./manage.py", "shell", *arguments])


def running(project: compose.Project, service: str) -> engine.Container:
    """Return a container of a service that runs; a healthy one rather than another.

    Raises:
        StackctlError: there is no such service, or none runs.
    """
    names = project.servers if service == ANY_SERVER else [service]
    for name in names:
        require_service(project, name)
    replicas = project.replicas()
    containers = [one for name in names for one in replicas.get(name, []) if one.running]
    if not containers:
        raise StackctlError(
            f"no {service} runs" if service == ANY_SERVER else f"{service} does not run",
            "`./stackctl up` starts the stack, `./stackctl status` shows what is wrong with it.",
        )
    return min(containers, key=lambda one: one.health != "healthy")
