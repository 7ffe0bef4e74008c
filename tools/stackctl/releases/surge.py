"""A new server starts next to the old one; then HAProxy sends the requests there.

So a deploy takes no server out of service, and a release that fails only costs a change of address.
HAProxy keeps a server's address while Docker's name server still has it, so a second container of a
service gets no request until `move`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..balancer import haproxy
from ..common.faults import StackctlError
from ..docker import compose, engine

POLL_SECONDS = 0.2
# After REQUEST_SECONDS: no request of the application lives longer.
MORE_SECONDS = 5.0
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
    """The servers that a release starts next to those that serve."""

    project: compose.Project
    balancer: haproxy.Balancer
    old: dict[str, engine.Container] = field(default_factory=dict)
    new: dict[str, engine.Container] = field(default_factory=dict)
    moved: list[str] = field(default_factory=list)

    def start(self, servers: Iterable[str]) -> str:
        """Start one more container of each server; return compose's error, or nothing."""
        before = self.project.containers()
        self.old = {server: before[server] for server in servers}
        result = self.project.start_another(self.old)
        replicas = self.project.replicas()
        for server, old in self.old.items():
            added = [one for one in replicas[server] if one.id != old.id]
            if added:
                self.new[server] = added[0]
        return "" if result.ok and self.new.keys() == self.old.keys() else result.text()

    def move(self, server: str) -> None:
        """Have HAProxy send a server's requests to its new container."""
        self.moved.append(server)
        self.balancer.move(server, self._address(self.new[server]))

    def move_back(self) -> list[StackctlError]:
        """Have HAProxy send all requests to the old containers again; return what failed."""
        failed = []
        for server in reversed(self.moved):
            try:
                self.balancer.move(server, self._address(self.old[server]))
            except StackctlError as error:
                failed.append(error)
        return failed

    def remove_new(self) -> None:
        """Remove the new containers that never got a request."""
        unused = [one.id for server, one in self.new.items() if server not in self.moved]
        if unused:
            engine.remove(*unused)

    def _address(self, container: engine.Container) -> str:
        """Return a container's present address in the network that HAProxy shares with the servers.

        Raises:
            StackctlError: it has none, because it ended, or it is gone.
        """
        container = engine.one(container.id)
        for network in self.project.networks(compose.BALANCER):
            if network in container.addresses:
                return container.addresses[network]
        raise StackctlError(
            f"{container.name} has no address", f"docker logs --tail 30 {container.name}"
        )


def reason_in_place(project: compose.Project) -> str:
    """Return why servers cannot start next to the present ones; nothing where they can."""
    containers = project.containers()
    for name in compose.PROXIES:
        if name != compose.BALANCER and name in containers and containers[name].running:
            return f"{name} sends requests to both containers of a server"
    used = available = 0
    for server in project.servers:
        if server in containers and containers[server].running:
            mine, available = memory(engine.execute(containers[server].id, "sh", "-c", MEMORY).out)
            used += mine
    # Twice: while a server starts, it may take more than it does later.
    if not used or available < 2 * used:
        return (
            f"the servers use {used // KIB} MiB of memory, and this machine has "
            f"{available // KIB} MiB left"
        )
    return ""


def settle(project: compose.Project, balancer: haproxy.Balancer) -> list[str]:
    """Leave one container of each server: that to which HAProxy sends requests.

    The others end their running requests, stop, and are removed. Returns their names.

    Raises:
        StackctlError: one cannot be stopped.
    """
    seen, replicas = balancer.servers(), project.replicas()
    former: dict[str, list[engine.Container]] = {}
    serving: dict[str, engine.Container] = {}
    for server in project.servers:
        all_of_it = replicas.get(server, [])
        address = seen[server].address if server in seen else ""
        kept = [one for one in all_of_it if address in one.addresses.values()] or all_of_it
        former[server] = [one for one in all_of_it if one is not kept[0]]
        if former[server]:
            serving[server] = kept[0]
    ending = [one for several in former.values() for one in several]
    if not ending:
        return []
    ports = {seen[server].port for server in serving if server in seen}
    deadline = time.monotonic() + max(map(longest_request, ending))
    for one in ending:
        while _connections(one, ports) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if one.running and time.monotonic() < deadline:
            engine.execute(one.id, "sh", "-c", MARK_DRAINED)
    identities = [one.id for one in ending]
    engine.stop(*identities, seconds=project.recreate_seconds)
    engine.remove(*identities)
    for server, one in serving.items():
        # The name that compose gave the first one.
        name = f"{project.name}-{server}-1"
        if one.name != name:
            engine.rename(one.id, name)
    return [one.name for one in ending]


def _connections(container: engine.Container, ports: set[int]) -> int:
    """Return how many connections to a server's port are open from other containers."""
    rows = engine.execute(container.id, "cat", "/proc/net/tcp").out.splitlines()
    open_rows = [row.split() for row in rows if f" {ESTABLISHED} " in row]
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
