"""A changed `.env` on a running site: the release stays, and nothing is built."""

from __future__ import annotations

from typing import Any

from ..checks import preflight
from ..checks.parts import changed_variables
from ..common.console import Console
from ..common.interrupt import Interrupt
from ..docker import compose, lock
from . import deploy, record, refusals, release
from .attempt import Attempt, result
from .server_checks import Limits


def apply(console: Console, limits: Limits) -> dict[str, Any]:
    """Have every server and worker run its release with the present variables.

    Returns the result for scripts, with the names of the variables that changed.

    Raises:
        as deploy() does.
    """
    interrupt = Interrupt()
    with console.step("checking this machine and the stack"):
        project = preflight.require("apply")
    with lock.held(project, record.APPLY), interrupt.noted(console.warn):
        balancer = refusals.require(project, console)
        image, name = release.present(project, "nothing was changed", "apply")
        deploy.remember_present(project)
        with console.step("checking the environment"):
            secrets_changed = project.check_environment(image)
        attempt = Attempt(project, record.APPLY, name, console, image)
        # One that was cut off may have copied new secrets that not every server has read.
        force = secrets_changed or record.unfinished(project) is not None
        names = _changed(project)
        if not force and deploy.is_running(project, image):
            console.good(
                "every server and worker runs with the present variables; nothing to do "
                "(./stackctl env check names those that nothing reads)"
            )
            return {**result(attempt, changed=False), "variables": names}
        also = ["a secret in a file"] * secrets_changed
        console.say(f"changed: {', '.join([*names, *also]) or 'the compose files'}")
        with attempt.begun():
            deploy.roll_out(attempt, balancer, interrupt, limits, force=force)
        return {**result(attempt, changed=True), "variables": names}


def _changed(project: compose.Project) -> list[str]:
    """Return the names of the variables that a server or worker has other values of."""
    containers = project.containers()
    return sorted(
        {
            variable
            for name in (*project.servers, *project.workers)
            if name in containers
            for variable in changed_variables(name, containers[name], project)
        }
    )
