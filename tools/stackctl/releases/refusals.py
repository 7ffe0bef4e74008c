"""What a release refuses before it touches anything, and what it only warns of."""

from __future__ import annotations

from collections.abc import Mapping

from ..balancer import haproxy
from ..checks import state
from ..common.console import Console
from ..common.faults import StackctlError
from ..docker import compose, engine
from ..inside import databases, passwords
from . import record, surge


def require(project: compose.Project, console: Console) -> haproxy.Balancer:
    """Return the load balancer of a stack that a release can go through.

    Servers that an attempt left out of service when it was cut off are no reason to refuse: the
    next one recreates them first.

    Raises:
        StackctlError: one of what is below.
    """
    last = record.unfinished(project)
    if last is not None and last.cut_off:
        console.warn(
            f"the {last.action} of {last.release} was interrupted ({last.time}, {last.who})"
        )
    balancer = state.balancer_of(project)
    for name in surge.settle(project, balancer):
        console.say(f"{name}: removed; an interrupted deploy had left it")
    containers = require_whole_stack(project, cut_off=last is not None and last.cut_off)
    hashes = project.config_hashes()
    require_present_balancer(project, balancer, containers, hashes, console)
    require_backing(project, containers, hashes, console)
    return balancer


def require_whole_stack(
    project: compose.Project, *, cut_off: bool
) -> Mapping[str, engine.Container]:
    """Return the containers by service; refuse to roll a stack that is not all in service.

    Args:
        project: the stack.
        cut_off: an earlier attempt was, and may have left any server drained or down.

    Raises:
        StackctlError: HAProxy does not answer, a server is down, or an earlier drain is unfinished.
    """
    problems = []
    status = state.read_status(project)
    for server in status.servers.values():
        seen = server.balancer
        if seen is None:
            unknown = state.unknown_server(server.name)
            problems.append(f"{unknown.problem}: {unknown.hint}")
        elif cut_off:
            continue
        elif seen.drained_by_hand:
            problems.append(
                f"{server.name} is {server.state} (an earlier drain or release is unfinished): "
                f"./stackctl ready {server.name}"
            )
        elif not seen.up or server.state is not state.ServerState.READY:
            problems.append(
                f"{server.name} is {server.state}, HAProxy says {seen.status}: "
                f"docker compose logs --tail 30 {server.name}, then ./stackctl up"
            )
    if problems:
        raise StackctlError(
            "refused, because not every server is in service; nothing was changed",
            "\n".join(problems),
        )
    return status.containers


def require_present_balancer(
    project: compose.Project,
    balancer: haproxy.Balancer,
    containers: Mapping[str, engine.Container],
    hashes: Mapping[str, str],
    console: Console,
) -> None:
    """Refuse where HAProxy is another than the checks of a release suppose; warn of an old one.

    Raises:
        StackctlError: the site is not where it will be requested, or a server outside the project
            would keep answering with the release before.
    """
    problems = []
    site = project.site()
    if site.port not in containers[compose.BALANCER].published:
        problems.append(
            f"it does not publish port {site.port}, where the site is to be ({site.url})"
        )
    problems += [
        f"it sends requests to {seen.name}, which is disabled"
        for seen in balancer.servers().values()
        if seen.up and compose.SERVER.fullmatch(seen.name) and seen.name not in project.servers
    ]
    if problems:
        raise StackctlError(
            "refused, because HAProxy runs with outdated variables: "
            f"{'; '.join(problems)}; nothing was changed",
            "Recreate it first, with a short interruption: "
            f"{compose.recreate_command(compose.BALANCER)}",
        )
    for name in compose.PROXIES:
        if name in containers and containers[name].config_hash != hashes.get(name):
            first = project.step_before_recreating(name, containers)
            _warn_of_old(name, console, first)


def require_backing(
    project: compose.Project,
    containers: Mapping[str, engine.Container],
    hashes: Mapping[str, str],
    console: Console,
) -> None:
    """Refuse to roll onto a database, cache or broker that was never started; warn of an old one.

    One that is down is no reason to refuse: the release may be what it waits for.

    Raises:
        StackctlError: one has no container, the database is of another kind, or Redis' container
            is of an earlier release.
    """
    missing = [name for name in project.backing if name not in containers]
    if missing:
        names = " ".join(missing)
        raise StackctlError(
            f"refused, because the release needs what is not running: {names}; nothing was changed",
            f"Start it first: docker compose up --detach --wait --no-deps {names}",
        )
    database = containers.get(compose.DATABASE)
    if database and (problem := databases.problem_of(project, database)):
        raise StackctlError(f"refused, because {problem}; nothing was changed", databases.MOVE)
    old = containers.get(compose.REDIS)
    if old is not None and passwords.REDIS.is_own(project) and "REDIS_USERNAME" not in old.environ:
        raise StackctlError(
            "refused, because redis' container is of an earlier release and does not know the user "
            "that servers sign in as; nothing was changed",
            f"Recreate it first: docker compose up --detach --wait --no-deps {compose.REDIS}",
        )
    for name in project.backing:
        other = containers[name].config_hash != hashes.get(name)
        if other and not passwords.is_rotated(project, containers[name]):
            _warn_of_old(name, console)


def _warn_of_old(service: str, console: Console, first: str = "") -> None:
    console.warn(
        f"{service} runs with an outdated configuration (a variable or a compose file "
        "has changed), and a deploy does not recreate it: "
        f"{first}docker compose up --detach --wait --no-deps {service}"
    )
