"""One server out of service and back, by hand."""

from __future__ import annotations

import time
from typing import Any

from ..balancer import haproxy
from ..checks import state
from ..common.console import Console
from ..common.faults import ExitCode, InterruptedByUserError, StackctlError
from ..common.interrupt import Interrupt
from ..docker import lock
from ..releases import roll, server_checks, surge
from . import stack

READY_SECONDS = 15.0


def drain(console: Console, server: str, *, force: bool) -> dict[str, Any]:
    """Take a server out of service and wait for its requests to end.

    The load balancer remembers it, over `stackctl reload` too, until it is restarted or `ready`
    undoes it.

    Raises:
        StackctlError: it is the last one in service, and `force` is not set.
        InterruptedByUserError: Ctrl-C; the server is in service again.
    """
    project = stack.load()
    state.require_server(project, server)
    interrupt = Interrupt()
    with lock.held(project, f"drain {server}"), interrupt.noted(console.warn):
        balancer = state.balancer_of(project)
        _seen(balancer, server)
        # Not another proxy: it needs a server too.
        seen = balancer.servers().values()
        others = [s for s in seen if s.up and s.name in project.servers and s.name != server]
        if not others and not force:
            raise StackctlError(
                f"{server} is the last server in service, and the site would answer 503",
                f"Bring another one back first (./stackctl ready SERVER), or: "
                f"./stackctl drain {server} --force",
            )
        move = roll.Roll(project, balancer, console, interrupt, server_checks.Limits())
        with console.step(f"{server}: draining"):
            done = move.drain(server)
        if not done:
            balancer.ready(server)
            raise InterruptedByUserError(f"interrupted; {server} is in service again")
    console.say(f"./stackctl ready {server} brings it back")
    return _result(project, server)


def ready(console: Console, server: str) -> dict[str, Any]:
    """Bring a server back into service and wait until the load balancer has taken it in.

    Raises:
        StackctlError: its checks are not good.
    """
    project = stack.load()
    state.require_server(project, server)
    with lock.held(project, f"ready {server}"):
        balancer = state.balancer_of(project)
        with console.step(f"{server}: back into service"):
            if _seen(balancer, server).status.startswith("MAINT"):
                # After maintenance HAProxy would count it as up before any check.
                balancer.drain(server)
                _wait(balancer, server, ("DRAIN",))
            balancer.ready(server)
            _wait(balancer, server, ("UP",))
    return _result(project, server)


def _seen(balancer: haproxy.Balancer, server: str) -> haproxy.BalancedServer:
    known = balancer.servers().get(server)
    if known is None:
        raise state.unknown_server(server)
    return known


def _wait(balancer: haproxy.Balancer, server: str, wanted: tuple[str, ...]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        seen = _seen(balancer, server)
        if seen.status.startswith(wanted) and seen.check.startswith("L7OK"):
            return
        if time.monotonic() > deadline:
            raise StackctlError(
                f"{server} does not come into service: HAProxy says {seen.status}, {seen.check}",
                f"docker compose logs --tail 30 {server}; ./stackctl up starts what has ended.",
            )
        time.sleep(surge.POLL_SECONDS)


def _result(project: Any, server: str) -> dict[str, Any]:
    seen = state.read_status(project).servers[server]
    return {**seen.as_dict(), "code": int(ExitCode.OK)}
