"""Each part of a stack that was started: what is wrong with it, and the next step.

A part is a long-running service, or the certificates' copy. Docker says how its container is,
HAProxy whether a server gets requests, compose whether it would start the same container now.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..common.faults import StackctlError
from ..docker import compose, engine
from ..inside import databases, passwords
from . import state
from .check import Check

# In the order of a request; then whatever else there is.
ORDER = compose.PROXIES
# They end when they are done.
ONE_SHOTS = (compose.ENV_CHECK, compose.MIGRATE, compose.CERTIFICATES)
LOGS = "docker compose logs --tail 30 {}"
UP = "./stackctl up"


def examine(seen: state.StackStatus) -> list[Check]:
    """Return one check for each part, by the name of its service."""
    try:
        hashes = seen.project.config_hashes()
    except StackctlError:
        # `docker compose config` itself has a check of its own.
        hashes = {}
    checks = []
    for service in _services(seen):
        container = seen.containers.get(service)
        problem, hint = _problem(service, container, seen, hashes)
        checks.append(Check(service, "" if problem else _fact(service, seen), problem, hint))
    return checks


def balancer_is_replaced(seen: state.StackStatus) -> bool:
    """Return whether another balancer runs in HAProxy's place."""
    # remove_nginx-balancer: begin
    other = seen.containers.get(compose.NGINX_BALANCER)
    if other and other.running:
        return not seen.running
    # remove_nginx-balancer: end
    return False


def _services(seen: state.StackStatus) -> list[str]:
    """Return the services that should run, and those that have a container though they should not.

    What checks or migrates before a start counts only where it failed.
    """
    wanted = {
        name
        for name, service in seen.project.services.items()
        if service.get("scale") != 0 and name not in (compose.ENV_CHECK, compose.MIGRATE)
    }
    for name, container in seen.containers.items():
        if name not in wanted and not container.stopped_cleanly:
            wanted.add(name)
    first = [*ORDER, *seen.project.servers, *seen.project.workers, *compose.BACKING]
    return sorted(wanted, key=lambda name: (first.index(name) if name in first else 99, name))


def _problem(
    service: str,
    container: engine.Container | None,
    seen: state.StackStatus,
    hashes: Mapping[str, str],
) -> tuple[str, str]:
    """Return what is wrong with a part and the next step; two empty texts when it is right."""
    if service == compose.BALANCER and balancer_is_replaced(seen):
        return "", ""
    if service in ONE_SHOTS:
        return _one_shot(service, container)
    if container is None:
        return "it has no container", UP
    return (
        _down(service, container)
        or _unhealthy(service, container, seen)
        or _disconnected(service, container, seen, hashes)
        or _silent(service, seen)
        or _not_in_service(service, seen)
        or _drift(service, container, seen, hashes)
        or ("", "")
    )


def _one_shot(service: str, container: engine.Container | None) -> tuple[str, str]:
    """Check a service that ends before a start continues; its container may be removed by now."""
    if container is None or container.running:
        return "", ""
    if container.status == "created":
        return "it has not run yet: what it waits for did not start", UP
    if container.exit_code == 0:
        return "", ""
    return _ended("it failed", container), f"{LOGS.format(service)}; correct that, then {UP}"


def _down(service: str, container: engine.Container) -> tuple[str, str] | None:
    logs = LOGS.format(service)
    match container.status:
        case "running":
            return None
        case "paused":
            return "it is paused", f"docker compose unpause {service}"
        case "restarting":
            words = f"it ends and starts again and again ({container.restarts} times so far)"
            return _ended(words, container), logs
        case "exited" if container.stopped_cleanly:
            return _ended("it is stopped", container), UP
        case "exited":
            return _ended("it ended", container), f"{UP} starts it again. {logs}"
        case "dead":
            return "Docker could not remove it (dead)", f"docker rm --force {container.name}; {UP}"
        case other:
            return f"it does not run ({other})", UP


def _ended(words: str, container: engine.Container) -> str:
    """Say how a container ended, with its last line."""
    out_of_memory = ", out of memory" if container.out_of_memory else ""
    last = engine.last_lines(container.id, 1).strip().splitlines()[-1:]
    return f"{words}: exit code {container.exit_code}{out_of_memory}" + "".join(
        f"; its last line: {line}" for line in last
    )


def _unhealthy(
    service: str, container: engine.Container, seen: state.StackStatus
) -> tuple[str, str] | None:
    logs = LOGS.format(service)
    if container.health == "starting":
        restarts = (
            f", and has been restarted {container.restarts} times" if container.restarts else ""
        )
        return f"it is starting{restarts}", f"{logs}; ./stackctl status --watch follows it"
    if container.health != "unhealthy":
        return None
    why = f": {container.health_output}" if container.health_output else ""
    heals = service in (*seen.project.servers, *seen.project.workers)
    hint = "./stackctl heal" if heals else f"docker compose restart {service}"
    return f"it is unhealthy{why}", f"{logs}; {hint} restarts it"


def _disconnected(
    service: str,
    container: engine.Container,
    seen: state.StackStatus,
    hashes: Mapping[str, str],
) -> tuple[str, str] | None:
    missing = seen.project.networks(service) - container.networks
    # A network that is new in the compose files, with no container in it yet, is drift.
    joined = frozenset[str]().union(*(other.networks for other in seen.containers.values()))
    is_old = container.config_hash != hashes.get(service, container.config_hash)
    if not missing or (is_old and not missing & joined):
        return None
    first = seen.project.step_before_recreating(service, seen.containers)
    return (
        f"it is not connected to the network {', '.join(sorted(missing))}",
        f"{first}docker compose up --detach --no-deps --force-recreate {service}",
    )


def _silent(service: str, seen: state.StackStatus) -> tuple[str, str] | None:
    if service != compose.BALANCER or seen.silent is None:
        return None
    return (
        f"its view of the servers is not known: {seen.silent.problem}",
        f"{LOGS.format(service)}; docker compose restart {service} interrupts visitors briefly",
    )


def _not_in_service(service: str, seen: state.StackStatus) -> tuple[str, str] | None:
    server = seen.servers.get(service)
    if server is None or is_in_service(server, seen):
        return None
    says = f"says {server.balancer.status}" if server.balancer else "does not know it"
    return f"{server.state}; HAProxy {says}", remedy(server, seen)


def is_in_service(server: state.ServerStatus, seen: state.StackStatus) -> bool:
    """Return whether nothing is known to be wrong with a server."""
    if server.state is state.ServerState.HEALTHY:
        # HAProxy's view is not known; HAProxy's own row says why.
        return bool(seen.silent) or not seen.running
    return server.state is state.ServerState.READY


def remedy(server: state.ServerStatus, seen: state.StackStatus) -> str:
    """Return the next step for a server that is not in service."""
    if server.balancer and server.balancer.drained_by_hand:
        return f"./stackctl ready {server.name}"
    if server.state is state.ServerState.HEALTHY and seen.running and server.balancer is None:
        return state.unknown_server(server.name).hint
    return f"{LOGS.format(server.name)}; {UP} starts what has ended"


def _drift(
    service: str,
    container: engine.Container,
    seen: state.StackStatus,
    hashes: Mapping[str, str],
) -> tuple[str, str] | None:
    """Judge a container that runs, but that compose would not start like this now."""
    project = seen.project
    if project.services.get(service, {}).get("scale") == 0:
        return "it runs, and the present variables disable it", f"{UP} removes it"
    if not hashes.get(service) or container.config_hash == hashes[service]:
        return None
    if passwords.is_rotated(project, container):
        return None
    names = changed_variables(service, container, project)
    if service == compose.DATABASE and (problem := databases.problem_of(project, container)):
        return problem, databases.MOVE
    differs = ", ".join(names) or "a compose file, or a variable that has no value now"
    rotated = [p for p in passwords.PASSWORDS.values() if p.is_changed(project, names)]
    if service in (*project.servers, *project.workers, *(p.service for p in rotated)):
        how = f"rotate {rotated[0].name}" if rotated else "apply" if names else "deploy"
        hint = f"./stackctl {how} brings the present one, without failed requests"
    else:
        first = project.step_before_recreating(service, seen.containers)
        command = compose.recreate_command(service)
        hint = f"{first}{command} brings the present one, with a short interruption"
    if "DB_ENGINE" in names:
        hint = databases.MOVE
    return (
        f"it runs with its former configuration; what has changed: {differs}",
        hint,
    )


def changed_variables(
    service: str, container: engine.Container, project: compose.Project
) -> list[str]:
    """Return the names of the variables that a container has other values of."""
    if service not in project.services:
        return []
    present = project.environment(service)
    # Compose lists variables that are no longer set, without a value.
    names = project.services[service].get("environment") or {}
    return sorted(n for n in names if container.environ.get(n, "") != present.get(n, ""))


def _fact(service: str, seen: state.StackStatus) -> str:
    container = seen.containers.get(service)
    # remove_nginx-balancer: begin
    if service == compose.BALANCER and balancer_is_replaced(seen):
        return f"off; {compose.NGINX_BALANCER} replaces it"
    # remove_nginx-balancer: end
    if server := seen.servers.get(service):
        known = "" if server.balancer else "; HAProxy's view is not known"
        return f"{server.state}, release {server.as_dict()['release']}{known}"
    if service in ONE_SHOTS:
        return "running" if container and container.running else "done at the last start"
    health = container.health if container else "none"
    return "running" if health == "none" else f"running, {health}"
