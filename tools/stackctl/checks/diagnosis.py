"""What ails a stack's long-running services, and what may be done about each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..docker import compose, engine
from .state import ServerState, StackStatus


class Remedy(StrEnum):
    """What is to be done about a service."""

    START = "start"
    RESTART = "restart"
    # Nothing, because a user requested it.
    RESPECT = "respect"
    # Nothing, because it would not help or would do harm: a person has to check.
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One service that is not as it should be."""

    service: str
    container: engine.Container
    remedy: Remedy
    reason: str


def is_suspect(container: engine.Container) -> bool:
    """Return, from the engine's data alone, whether a service may need healing.

    Only a service with a restart policy is meant to run for ever; what Docker itself restarts
    (`restarting`), pauses or has not started yet is left to it.
    """
    if container.restart_policy == "no":
        return False
    return container.status == "exited" or (container.running and container.health == "unhealthy")


def examine(seen: StackStatus, stopped: set[tuple[str, str]]) -> list[Diagnosis]:
    """Return what is wrong, the database first, since the servers need it, and the servers next.

    Args:
        seen: the stack's present state.
        stopped: containers that a user stopped, each with the time. What is detected is
            added, since the engine forgets it.
    """
    findings = [
        _ended(seen, container, stopped)
        if container.status == "exited"
        else _unhealthy(seen, container)
        for container in seen.containers.values()
        if is_suspect(container)
    ]
    order = (compose.DATABASE, *seen.project.servers)
    return sorted(
        findings, key=lambda f: order.index(f.service) if f.service in order else len(order)
    )


def _ended(
    seen: StackStatus, container: engine.Container, stopped: set[tuple[str, str]]
) -> Diagnosis:
    """Judge a container that ended and that Docker does not start again."""
    if container.stopped_cleanly:
        return _finding(container, Remedy.RESPECT, "it was stopped cleanly")
    ended = f"it ended with exit code {container.exit_code}"
    if container.out_of_memory:
        ended += " (out of memory)"
    if _drained_by_hand(seen, container):
        return _finding(container, Remedy.RESPECT, f"{ended}, but it was drained by hand")
    end = (container.id, container.finished)
    if end in stopped or engine.was_stopped(container):
        stopped.add(end)
        reason = f"{ended}, because it was stopped and its grace period was too short"
        return _finding(container, Remedy.RESPECT, reason)
    return _finding(container, Remedy.START, ended)


def _unhealthy(seen: StackStatus, container: engine.Container) -> Diagnosis:
    """Judge a container that runs but fails its health checks."""
    service = container.service
    if service not in (*seen.project.servers, *seen.project.workers):
        reason = "it is unhealthy; only servers and workers are restarted for that"
        return _finding(container, Remedy.REPORT, reason)
    if _drained_by_hand(seen, container):
        return _finding(container, Remedy.RESPECT, "it is unhealthy, but it was drained by hand")
    if _is_stopping(container):
        return _finding(container, Remedy.RESPECT, "it is being stopped")
    if service in seen.project.servers and not _others_in_service(seen, service):
        reason = "it is unhealthy, but no other server is in service that could take its place"
        return _finding(container, Remedy.REPORT, reason)
    return _finding(container, Remedy.RESTART, "it runs, but it is unhealthy")


def _finding(container: engine.Container, remedy: Remedy, reason: str) -> Diagnosis:
    return Diagnosis(container.service, container, remedy, reason)


def _drained_by_hand(seen: StackStatus, container: engine.Container) -> bool:
    server = seen.servers.get(container.service)
    return bool(server and server.balancer and server.balancer.drained_by_hand)


def _is_stopping(container: engine.Container) -> bool:
    """Return whether it received a stop signal: supervisor/drain then writes a file."""
    file = container.environ.get("DRAIN_FILE", "")
    return bool(file) and engine.execute(container.id, "test", "-e", file).ok


def _others_in_service(seen: StackStatus, service: str) -> bool:
    return any(
        server.state is ServerState.READY
        for name, server in seen.servers.items()
        if name != service
    )
