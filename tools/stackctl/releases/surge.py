"""New servers and a new worker start next to the old ones; then HAProxy sends the requests there.

So a deploy takes no server out of service, and a release that fails only costs a change of address.
HAProxy keeps a server's address while Docker's name server still has it, so a second container of a
service gets no request until `move`. Two workers share the tasks (ops/tasks/schedule.py, parking).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ..balancer import haproxy
from ..common.faults import StackctlError
from ..docker import compose, engine

POLL_SECONDS = 0.2
# After REQUEST_SECONDS: no request of the application lives longer.
MORE_SECONDS = 5.0
# HAProxy restarts: the requests that run end first (BALANCER_GRACE_SECONDS).
RESTART_SECONDS = 90.0
# Read by supervisor/drain: nothing is running, nothing will come. A test runs the two together.
MARK_DRAINED = ': >"$DRAIN_FILE.done"'
# The memory of each process of a server, of shared pages its share; what the machine has left.
MEMORY = "grep -h -e ^Pss: -e ^MemAvailable: /proc/[0-9]*/smaps_rollup /proc/meminfo 2>/dev/null"
KIB = 1024
# A row of /proc/net/tcp: an open connection, and the container itself as the other side.
ESTABLISHED, LOOPBACK = "01", "0100007F:"


def longest_request(container: engine.Container) -> float:
    """Return after how many seconds no request of a server is left."""
    return container.request_seconds + MORE_SECONDS


@dataclass
class Surge:
    """The containers that a release starts next to those that serve."""

    project: compose.Project
    balancer: haproxy.Balancer
    # Those that serve, by service.
    old: dict[str, engine.Container]
    new: dict[str, engine.Container] = field(default_factory=dict)
    moved: list[str] = field(default_factory=list)

    def start(self) -> str:
        """Start one more container of each service; return compose's error, or nothing.

        Raises:
            StackctlError: the engine does not answer.
        """
        result = self.project.start_another(self.old)
        replicas = self.project.replicas()
        for service, old in self.old.items():
            added = [one for one in replicas[service] if one.id != old.id]
            if added:
                self.new[service] = added[0]
        return "" if result.ok and self.new.keys() == self.old.keys() else result.text()

    def move(self, server: str) -> None:
        """Have HAProxy send a server's requests to its new container.

        Raises:
            StackctlError: the container has no address, or HAProxy cannot be reached or refuses it.
        """
        self.moved.append(server)
        self.balancer.move(server, _address(self.project, self.new[server]))

    def move_back(self) -> list[StackctlError]:
        """Have HAProxy send all requests to the old containers; return what failed.

        Also those of servers that were not moved: an HAProxy that restarted chose one of the two.
        """
        try:
            _answering(self.balancer)
        except StackctlError as error:
            return [error]
        failed = []
        for server in reversed([one for one in self.new if one in self.project.servers]):
            try:
                self.balancer.move(server, _address(self.project, self.old[server]))
            except StackctlError as error:
                failed.append(error)
        return failed

    def remove_new(self) -> None:
        """Remove the new servers that never got a request.

        Raises:
            StackctlError: the engine cannot remove one.
        """
        servers = [name for name in self.new if name in self.project.servers]
        unused = [self.new[name].id for name in servers if name not in self.moved]
        if unused:
            engine.remove(*unused)

    def settle(self, moved: Collection[str]) -> None:
        """Leave one container of each service: the new one of servers that `moved` names.

        The worker is the one of the new release only if all servers are.

        Raises:
            StackctlError: one of the others cannot be stopped.
        """
        if set(moved) >= self.old.keys() & {*self.project.servers}:
            moved = self.old
        settle(
            self.project,
            self.balancer,
            {name: (self.new if name in moved else self.old)[name].id for name in self.old},
        )


def next_to(
    project: compose.Project,
    services: Iterable[str],
    containers: Mapping[str, engine.Container],
) -> list[str]:
    """Return those of the workers that may have two containers for a while.

    A service of the team's own may be the only one that may run, or publish a port.
    """
    return [
        name
        for name in services
        if name == compose.WORKER
        and project.services[name].get("scale", 1) == 1
        and name in containers
        and containers[name].running
    ]


def reason_in_place(project: compose.Project, containers: Mapping[str, engine.Container]) -> str:
    """Return why servers cannot start next to the present ones; nothing where they can."""
    for name in compose.PROXIES:
        if name != compose.BALANCER and name in containers and containers[name].running:
            return f"{name} sends requests to both containers of a server"
    used = available = 0
    doubled = (*project.servers, *next_to(project, project.workers, containers))
    running = [containers[n].id for n in doubled if n in containers and containers[n].running]
    for answer in engine.execute_in_each(running, "sh", "-c", MEMORY):
        mine, available = memory(answer.out)
        used += mine
    # Twice: while a server starts, it may take more than it does later.
    if not used or available < 2 * used:
        return (
            f"the servers and the worker use {used // KIB} MiB of memory, and this machine has "
            f"{available // KIB} MiB left"
        )
    return ""


def settle(
    project: compose.Project, balancer: haproxy.Balancer, kept: Mapping[str, str] | None = None
) -> list[str]:
    """Leave one container of each server and of the worker.

    The others end their running requests and tasks, stop, and are removed.

    Args:
        project: the stack.
        balancer: its HAProxy.
        kept: which container stays, its id by service; by default a server's to which HAProxy sends
            requests, and a worker of the servers' release.

    Returns the names of those that were removed.

    Raises:
        StackctlError: one cannot be stopped.
    """
    replicas = project.replicas()
    containers = {name: compose.oldest_running(several) for name, several in replicas.items()}
    double = [
        name
        for name in (*project.servers, *next_to(project, project.workers, containers))
        if len(replicas.get(name, ())) > 1
    ]
    if not double:
        return []
    seen = _answering(balancer)
    staying = _staying(project, replicas, seen, kept or {})
    for server in [name for name in double if name in (kept or {}) and name in seen]:
        # HAProxy has restarted meanwhile, and chose one of the two.
        if seen[server].address not in staying[server].addresses.values():
            balancer.move(server, _address(project, staying[server]))
    ending = [one for name in double for one in replicas[name] if one is not staying[name]]
    _stop(ending, seen, {s.port for s in seen.values()}, project.recreate_seconds)
    engine.remove(*(one.id for one in ending))
    for name in double:
        # The name that compose gave the first one.
        first = f"{project.name}-{name}-1"
        if staying[name].name != first:
            engine.rename(staying[name].id, first)
    return [one.name for one in ending]


def _staying(
    project: compose.Project,
    replicas: Mapping[str, list[engine.Container]],
    seen: Mapping[str, haproxy.BalancedServer],
    kept: Mapping[str, str],
) -> dict[str, engine.Container]:
    """Return the container that stays of each server and worker that has one."""
    staying: dict[str, engine.Container] = {}
    images: set[str] = set()
    for name in (*project.servers, *project.workers):
        several = replicas.get(name, [])
        if not several:
            continue
        if name in project.servers:
            address = seen[name].address if name in seen else ""
            fitting = [one for one in several if address in one.addresses.values()]
        else:
            fitting = [one for one in several if one.running and one.image in images]
        named = [one for one in several if one.id == kept.get(name)]
        staying[name] = [*named, *fitting, compose.oldest_running(several)][0]
        images.add(staying[name].image)
    return staying


def _stop(
    ending: list[engine.Container], servers: Collection[str], ports: set[int], seconds: float
) -> None:
    """Stop containers, a server as soon as it has no request left; it gets no new ones.

    Args:
        ending: the containers.
        servers: the services of those that answer requests.
        ports: where they listen.
        seconds: how long a stop may take.

    Raises:
        StackctlError: one cannot be stopped.
    """
    busy = [one for one in ending if one.service in servers and one.running]
    deadline = time.monotonic() + max(map(longest_request, busy), default=0.0)
    left = ending
    while left:
        if busy and time.monotonic() < deadline:
            tables = engine.execute_in_each([one.id for one in busy], "cat", "/proc/net/tcp")
            rows = zip(busy, tables, strict=True)
            quiet = [one for one, table in rows if not _connections(table.out, ports)]
            engine.execute_in_each([one.id for one in quiet], "sh", "-c", MARK_DRAINED)
            busy = [one for one in busy if one not in quiet]
        else:
            busy = []
        if now := [one.id for one in left if one not in busy]:
            engine.stop(*now, seconds=seconds)
            left = busy
        else:
            time.sleep(POLL_SECONDS)


def _answering(balancer: haproxy.Balancer) -> dict[str, haproxy.BalancedServer]:
    """Return the servers as HAProxy sees them; one that restarts has time for it.

    Raises:
        StackctlError: HAProxy cannot be reached.
    """
    deadline = time.monotonic() + RESTART_SECONDS
    while True:
        try:
            return balancer.servers()
        except StackctlError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)


def _address(project: compose.Project, container: engine.Container) -> str:
    """Return a container's present address in the network that HAProxy shares with the servers.

    Raises:
        StackctlError: it has none, because it ended, or it is gone.
    """
    container = engine.one(container.id)
    for network in project.networks(compose.BALANCER):
        if network in container.addresses:
            return container.addresses[network]
    raise StackctlError(
        f"{container.name} has no address", f"docker logs --tail 30 {container.name}"
    )


def _connections(table: str, ports: set[int]) -> int:
    """Return how many connections to a server's port are open from other containers.

    Args:
        table: its /proc/net/tcp.
        ports: where it listens.
    """
    open_rows = [row.split() for row in table.splitlines() if f" {ESTABLISHED} " in row]
    return sum(
        int(local.rpartition(":")[2], 16) in ports and not remote.startswith(LOOPBACK)
        for _, local, remote, *_ in open_rows
    )


def memory(printed: str) -> tuple[int, int]:
    """Return how much memory a server's processes use and how much the machine has left, in KiB.

    Args:
        printed: the output of MEMORY.
    """
    used = available = 0
    for line in printed.splitlines():
        name, number, *_ = [*line.split(), "", ""]
        if name == "Pss:" and number.isdecimal():
            used += int(number)
        elif number.isdecimal():
            available = int(number)
    return used, available
