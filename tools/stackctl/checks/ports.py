"""The ports on this machine that the stack publishes: free, held by it, or in use by another."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection
from itertools import chain
from typing import Final

from ..docker import compose, engine
from .check import Check
from .variables import variable

# By the port in the container.
PORT_NAMES: Final = {
    8080: "HTTP_PORT",
    8443: "HTTPS_PORT",
    8888: "STATS_PORT",
    9090: "PROMETHEUS_PORT",
    3000: "GRAFANA_PORT",
    8090: "NGINX_BALANCER_PORT",  # remove_nginx-balancer
    7999: "NGINX_PORT",  # remove_apache
    8002: "APACHE_PORT",  # remove_apache
}
# The variable of a port's address, where it is not HTTP_ADDRESS.
PORT_ADDRESSES: Final[dict[str, str]] = {
    "NGINX_BALANCER_PORT": "NGINX_BALANCER_ADDRESS",  # remove_nginx-balancer
    "NGINX_PORT": "DIRECT_ADDRESS",  # remove_apache
    "APACHE_PORT": "DIRECT_ADDRESS",  # remove_apache
}


def examine(project: compose.Project, command: str, *, engine_answers: bool) -> list[Check]:
    """Check each port that the project's services publish.

    Args:
        project: the project.
        command: the stackctl command to run after a change.
        engine_answers: whether it can be asked which ports its containers hold.
    """
    containers = project.containers().values() if engine_answers else ()
    ours = {port for container in containers if container.running for port in container.published}
    # Those of parts that are off, too: they may be on tomorrow.
    reserved = {published.port for published in project.ports()}
    reserved |= {int(text) for name in PORT_NAMES.values() if (text := variable(name)).isdecimal()}
    suggested: dict[int, int] = {}
    checks = []
    for published in project.ports():
        port, name = published.port, PORT_NAMES.get(published.target, "")
        error = None if port in ours else bind_error(published.address, port)
        if error is None:
            state = "held by this stack" if port in ours else "free"
            checks.append(Check(f"port {port}", f"{name or published.service}, {state}"))
        elif error != errno.EADDRINUSE:
            checks.append(_refused(published, error))
        else:
            if port not in suggested:
                suggested[port] = _free(project, port, reserved)
                reserved.add(suggested[port])
            checks.append(_in_use(published, suggested[port], command))
    return checks


def _free(project: compose.Project, port: int, reserved: Collection[int]) -> int:
    """Return a port for what a port is published for, free on all of its addresses."""
    addresses = {published.address for published in project.ports() if published.port == port}
    return next(
        candidate
        for candidate in chain(range(port + 1, 65536), range(1024, port))
        if candidate not in reserved
        and not any(bind_error(address, candidate) for address in addresses)
    )


def _in_use(published: compose.Published, free: int, command: str) -> Check:
    port = published.port
    holder = engine.holder_of(port)
    who = f"the container {holder}" if holder else "another program"
    name = PORT_NAMES.get(published.target)
    if name is None:
        step = f"{free}, in `ports:` of {published.service} in your compose files"
    elif os.environ.get(name):
        step = f"{name}={free} ./stackctl {command}"
    else:
        step = f"put {name}={free} into .env, then run ./stackctl {command}"
    return Check(
        f"port {port}",
        problem=f"port {port} is in use by {who}",
        hint=f"Choose another: {step}",
    )


def _refused(published: compose.Published, error: int) -> Check:
    address, port = published.address, published.port
    name = PORT_NAMES.get(published.target)
    if name is None:
        step = f"Correct `ports:` of {published.service} in your compose files."
    else:
        default = "HTTP_IPV6_ADDRESS" if ":" in address else "HTTP_ADDRESS"
        step = (
            f"{PORT_ADDRESSES.get(name, default)} must be an address of this machine; "
            f"{name} sets the port."
        )
    problem = f"cannot listen on {address}:{port}: {os.strerror(error)}"
    return Check(f"port {port}", problem=problem, hint=step)


def bind_error(address: str, port: int) -> int | None:
    """Return why nothing can listen on a TCP port, as an errno; None when it can, or root can."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # As servers do, so that a port whose last user has just ended counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.strip("[]"), port))
    except PermissionError:
        return None  # a port below 1024: the engine, which is root, may
    except OSError as error:
        return error.errno
    return None
