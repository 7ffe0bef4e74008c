"""What state each server is in, from the engine and the load balancer together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..balancer import haproxy
from ..balancer.apache import Apache  # remove_apache
from ..common.faults import StackctlError, UsageError
from ..docker import compose, engine


class ServerState(StrEnum):
    """A server's life: in service, out of it, or on the way."""

    READY = "ready"  # healthy, and the load balancer sends requests
    DRAINING = "draining"  # no new requests; some still run
    DRAINED = "drained"  # no new requests, none runs
    STARTING = "starting"  # the container is up, its health is not known yet
    HEALTHY = "healthy"  # healthy, but not in service at the load balancer yet
    FAILED = "failed"  # unhealthy, paused, or it ends and starts again
    STOPPED = "stopped"  # there is no running container


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server, seen from both sides."""

    name: str
    state: ServerState
    container: engine.Container | None
    balancer: haproxy.BalancedServer | None

    def as_dict(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "server": self.name,
            "state": self.state.value,
            "release": self.container.release if self.container else None,
            "image": self.container.image if self.container else None,
            "health": self.container.health if self.container else None,
            "started": self.container.started if self.container else None,
            "haproxy": self.balancer.status if self.balancer else None,
            "sessions": self.balancer.sessions if self.balancer else None,
        }


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The whole stack at one moment."""

    project: compose.Project
    containers: dict[str, engine.Container]
    servers: dict[str, ServerStatus]
    # Why the load balancer, which runs, does not say what it sees; nothing when it does.
    silent: StackctlError | None = None

    @property
    def running(self) -> bool:
        """Return whether the load balancer is running."""
        balancer = self.containers.get(compose.BALANCER)
        return bool(balancer and balancer.running)

    def releases(self) -> dict[str, str]:
        """Return which release each server and worker runs."""
        application = (*self.project.servers, *self.project.workers)
        return {
            name: self.containers[name].release for name in application if name in self.containers
        }

    def as_dict(self) -> dict[str, Any]:
        """Return it for scripts."""
        others = {
            name: {"status": container.status, "health": container.health}
            for name, container in sorted(self.containers.items())
            if name not in self.servers
        }
        return {
            "project": self.project.name,
            "layer": self.project.layer,
            "running": self.running,
            "haproxy_silent": self.silent.problem if self.silent else None,
            "servers": [server.as_dict() for server in self.servers.values()],
            "services": others,
        }


def judge(container: engine.Container | None, seen: haproxy.BalancedServer | None) -> ServerState:
    """Return the state that both views add up to."""
    if container is None or not (container.running or container.status == "restarting"):
        return ServerState.STOPPED
    if container.status in ("restarting", "paused") or container.health == "unhealthy":
        return ServerState.FAILED
    if seen is not None and (seen.drained_by_hand or seen.status.startswith("NOLB")):
        busy = seen.sessions or seen.queued
        return ServerState.DRAINING if busy else ServerState.DRAINED
    if container.health == "starting":
        return ServerState.STARTING
    return ServerState.READY if seen is not None and seen.up else ServerState.HEALTHY


def read_status(project: compose.Project) -> StackStatus:
    """Return the stack's present state.

    Raises:
        StackctlError: the load balancer runs and does not answer.
    """
    seen = glance(project)
    if seen.silent:
        raise seen.silent
    return seen


def glance(project: compose.Project) -> StackStatus:
    """Return what is known of the stack's present state, also from a load balancer that is silent.

    Of a server that has two containers during a deploy, it is the one that gets the requests.

    Raises:
        StackctlError: the engine does not answer.
    """
    replicas = project.replicas()
    containers = {name: compose.oldest_running(several) for name, several in replicas.items()}
    balancer = containers.get(compose.BALANCER)
    seen: dict[str, haproxy.BalancedServer] = {}
    silent: StackctlError | None = None
    if balancer is not None and balancer.running:
        try:
            seen = haproxy.Balancer(balancer.id).servers()
        except StackctlError as error:
            silent = error
    for name in seen.keys() & {*project.servers} & replicas.keys():
        chosen = [one for one in replicas[name] if seen[name].address in one.addresses.values()]
        containers[name] = [*chosen, containers[name]][0]
    servers = {
        name: ServerStatus(
            name, judge(containers.get(name), seen.get(name)), containers.get(name), seen.get(name)
        )
        for name in project.servers
    }
    return StackStatus(project, containers, servers, silent)


def balancer_of(project: compose.Project) -> haproxy.Balancer:
    """Return the running load balancer.

    Raises:
        StackctlError: it does not run.
    """
    containers = project.containers()
    container = containers.get(compose.BALANCER)
    if container is None or not container.running:
        raise StackctlError("the stack is not running", "Start it: ./stackctl up")
    # remove_apache: begin
    apache = containers.get(compose.APACHE)
    if apache and apache.running:
        balancer = haproxy.Balancer(container.id)
        balancer.apache = Apache(apache.id)
        return balancer
    # remove_apache: end
    return haproxy.Balancer(container.id)


def unknown_server(name: str) -> StackctlError:
    """Return the fault that the load balancer runs and does not know a server."""
    return StackctlError(
        f"HAProxy does not know {name}",
        "HAProxy runs with a former SERVER_COUNT or haproxy/haproxy.cfg. Recreate it: "
        f"{compose.recreate_command(compose.BALANCER)}",
    )


def require_server(project: compose.Project, name: str) -> None:
    """Check that there is a server of this name.

    Raises:
        UsageError: there is none; the hint names the servers.
    """
    if name not in project.servers:
        raise UsageError(
            f"there is no server called {name!r}", f"The servers: {', '.join(project.servers)}."
        )
