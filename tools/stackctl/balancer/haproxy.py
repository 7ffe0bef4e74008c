"""HAProxy's runtime API: who gets requests, how many each has, and which processes serve.

The sockets of the worker (admin) and of the master, which starts workers, lie in a tmpfs of
HAProxy's own container, where only its user may open them. They are reached by `docker exec` with
Perl, which every Debian image has: perl-base is an essential package, and it has
IO::Socket::UNIX. So nothing is published, no volume is shared, no other container can reach them,
and it works wherever the docker client does, Docker Desktop included.
https://docs.haproxy.org/3.0/management.html#9.3
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from ..common import outputs, process
from ..common.faults import StackctlError
from ..docker import engine
from . import kept_state
from .apache import Apache  # remove_apache

BACKEND = "dynamic_backend"
# The backends with health checks of their own; upload_backend tracks the first.
CHECKED = (BACKEND, "static_backend")
ALL = (*CHECKED, "upload_backend")
# Not in every configuration; they track the first too.
OPTIONAL = ("slow_backend", "stream_backend")
NO_BACKEND = "No such backend."
SOCKET = "/var/lib/haproxy/admin.sock"
# Runs a command with the password that the configuration takes from a file.
START = "/usr/local/etc/haproxy/start"
# docker-compose.yaml starts HAProxy with it.
MASTER_SOCKET = "/var/lib/haproxy/master.sock"
CONFIG = "/usr/local/etc/haproxy/haproxy.cfg"
STATE_FILE = "/var/lib/haproxy/server-state"
# How many requests at once a worker sends each server while it is replaced: few enough that
# the health checks, which queue behind them, do not time out.
FORMER_LIMIT = 32
# What `set server ... addr` answers: the address is another one now, or was that one already.
MOVED = ("IP changed", "nothing changed")
# An HAProxy that hangs accepts connections and does not answer. The master answers a reload when
# the new process is up.
ANSWER_SECONDS = 10
MASTER_SECONDS = 50
TALK = (Path(__file__).parents[1] / "inside/talk.pl").read_text()


@dataclass(frozen=True, slots=True)
class BalancedServer:
    """A server as the load balancer sees it."""

    name: str
    # UP, DOWN, NOLB (answers 404: draining itself), DRAIN, MAINT; `UP 1/2` while it changes.
    status: str
    check: str
    address: str
    # Requests running and waiting, over all backends.
    sessions: int
    queued: int
    answers: int
    errors: int
    # How many requests at once HAProxy gives it; 0 for any number.
    limit: int = 0
    # Whether a user took it out of service, by drain or maintenance. The status does not say it:
    # a server that ended is DOWN, and `MAINT (resolution)` once its name is gone, drained or not.
    drained_by_hand: bool = False
    port: int = 0

    @property
    def up(self) -> bool:
        """Return whether it gets requests."""
        return self.status.startswith("UP")


@dataclass(frozen=True, slots=True)
class HaproxyWorkers:
    """The processes that serve: the present one, and those of before a reload, by process id."""

    present: int
    former: tuple[int, ...]


class Balancer:
    """One running HAProxy, and the server that picks servers next to it, if one runs."""

    # remove_apache: begin
    apache: Apache | None = None

    # remove_apache: end
    def __init__(self, container: str) -> None:
        """Keep the container's id."""
        self.container = container

    def command(self, *lines: str) -> str:
        """Give commands to the runtime API and return the answer.

        Raises:
            StackctlError: HAProxy cannot be reached.
        """
        result = self._talk(SOCKET, ANSWER_SECONDS, *lines)
        if not result.ok:
            raise StackctlError(
                f"HAProxy's admin socket does not answer: {result.text()}",
                "Is haproxy running? `docker compose ps haproxy`, `docker compose logs haproxy`.",
            )
        return result.out

    def master(self, *lines: str) -> str:
        """Give commands to the master process and return the answer.

        Raises:
            StackctlError: it cannot be reached, as in a container made by an older compose file.
        """
        result = self._talk(MASTER_SOCKET, MASTER_SECONDS, *lines)
        if not result.ok:
            raise StackctlError(
                f"HAProxy's master socket does not answer: {result.text()}",
                "A container that was created by an earlier docker-compose.yaml "
                "has no such socket: `docker compose up --detach --no-deps haproxy` recreates "
                "it, with a short interruption.",
            )
        return result.out

    def workers(self) -> HaproxyWorkers:
        """Return the processes that serve.

        https://docs.haproxy.org/3.0/management.html#9.4-show%20proc

        Raises:
            StackctlError: the master process cannot be reached, or its answer not read.
        """
        present, former = 0, []
        heading = ""
        with outputs.read("show proc"):
            for line in self.master("show proc").splitlines():
                words = line.split()
                if line.startswith("# "):
                    heading = line.removeprefix("# ").strip()
                elif len(words) > 1 and words[1] == "worker":
                    if heading == "workers":
                        present = int(words[0])
                    else:
                        former.append(int(words[0]))
            if not heading:
                raise ValueError("no list of processes")
        return HaproxyWorkers(present, tuple(former))

    def servers(self) -> dict[str, BalancedServer]:
        """Return the servers by name.

        Raises:
            StackctlError: HAProxy cannot be reached, or its answer is not whole.
        """
        answer = self.command("show stat", "show servers state")
        with outputs.read("show stat; show servers state"):
            table, _, states = answer.partition("\n\n")
            drained = set(kept_state.drained_by_hand(states))
            return self._servers(table, drained)

    def _servers(self, answer: str, drained: set[tuple[str, str]]) -> dict[str, BalancedServer]:
        rows = list(csv.DictReader(io.StringIO(answer.removeprefix("# "))))
        # A row that is cut off has columns without a value.
        if not answer.startswith("# ") or not rows or any(None in row.values() for row in rows):
            raise ValueError("no table, or only its beginning")
        servers = {}
        for row in rows:
            name = row["svname"]
            if row["pxname"] != BACKEND or name in ("FRONTEND", "BACKEND"):
                continue
            everywhere = [other for other in rows if other["svname"] == name]
            codes = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
            # Up only where every backend has it up: the next server is stopped then.
            statuses = [row["status"], *(other["status"] for other in everywhere)]
            servers[name] = BalancedServer(
                name=name,
                status=next((s for s in statuses if not s.startswith("UP")), row["status"]),
                check=row["check_status"].lstrip("* "),
                address=(row.get("addr") or "").rpartition(":")[0],
                sessions=sum(_number(other["scur"]) for other in everywhere),
                queued=sum(_number(other["qcur"]) for other in everywhere),
                answers=sum(_number(row[f"hrsp_{code}"]) for code in codes),
                errors=_number(row["hrsp_5xx"]),
                limit=_number(row["slim"]),
                drained_by_hand=(BACKEND, name) in drained,
                port=_number((row.get("addr") or "").rpartition(":")[2]),
            )
        return servers

    def drain(self, server: str) -> None:
        """Send no new request to a server; running ones and the health checks continue.

        Raises:
            StackctlError: HAProxy cannot be reached, or does not know the server.
        """
        self._set(server, "drain")
        # remove_apache: begin
        if self.apache:
            self.apache.drain(server)
        # remove_apache: end

    def ready(self, server: str) -> None:
        """Let a server get requests again, once its health checks are good.

        Raises:
            StackctlError: HAProxy cannot be reached, or does not know the server.
        """
        self._set(server, "ready")
        # remove_apache: begin
        if self.apache:
            self.apache.ready(server)
        # remove_apache: end
        # HAProxy 3.0 gives a server queued requests only when one of its own ends, and this one has
        # none. Setting its limit to the same value makes HAProxy process the queue.
        # https://docs.haproxy.org/3.0/management.html#9.3-set%20maxconn%20server
        limit = self.servers()[server].limit
        if limit:
            self._accepted(
                server,
                self.command(*_limiting({server: limit})),
                f"a limit of {limit}",
            )

    def move(self, server: str, address: str) -> None:
        """Send a server's requests to another address from now on; running ones end where they are.

        HAProxy closes the idle connections to the former address. It keeps the new one for as long
        as Docker's name server has it for that name.
        https://docs.haproxy.org/3.0/management.html#9.3-set%20server

        Raises:
            StackctlError: HAProxy cannot be reached, or refuses it.
        """
        backends = (*ALL, *OPTIONAL)
        commands = [f"set server {backend}/{server} addr {address}" for backend in backends]
        said = [line for line in self.command(*commands).splitlines() if line.strip()]
        said = [*said[: len(ALL)], *(line for line in said[len(ALL) :] if line != NO_BACKEND)]
        if len(said) < len(ALL) or not all(line.startswith(MOVED) for line in said):
            self._accepted(server, "; ".join(said) or "no answer", f"the address {address}")

    def busy_elsewhere(self, server: str) -> int:
        """Return how many requests a server has that HAProxy does not see.

        Raises:
            StackctlError: the server that sees them does not answer.
        """
        # remove_apache: begin
        if self.apache:
            return self.apache.busy(server)
        # remove_apache: end
        return 0

    def reload(self, servers: dict[str, BalancedServer]) -> str:
        """Have the master start another worker, and the present one hand over what waits in it.

        The two share the servers' slots, so each gets half of what the servers can do,
        and what has waited in the former one since before the reload would reach the queue's time
        limit. The limit cannot be set any more once a worker is a former one ("Proxy is
        disabled"), so it is raised at the last moment before. A new worker has the
        configuration's.

        Args:
            servers: those of the present worker, by name.

        Returns:
            what the master says; it begins with Success=1 if the new worker serves.

        Raises:
            StackctlError: the master cannot be reached.
        """
        limits = {name: server.limit for name, server in servers.items() if server.limit}
        raised = dict.fromkeys(limits, FORMER_LIMIT)
        said = ""
        try:
            # @1 is the present worker.
            said = self.master(*(f"@1 {line}" for line in _limiting(raised)), "reload").strip()
        finally:
            if not said.startswith("Success=1"):
                self.command(*_limiting(limits))
        return said

    def _talk(self, socket: str, seconds: int, *lines: str) -> process.Result:
        command = ("perl", "-e", TALK, socket, str(seconds))
        return engine.execute(self.container, *command, stdin=";".join(lines) + "\n")

    def _set(self, server: str, state: str) -> None:
        commands = [f"set server {backend}/{server} state {state}" for backend in CHECKED]
        self._accepted(server, self.command(*commands), state)

    def _accepted(self, server: str, answer: str, wanted: str) -> None:
        """Check that HAProxy took a command without a word.

        Raises:
            StackctlError: it answered with a fault.
        """
        if answer.strip():
            raise StackctlError(
                f"HAProxy refused to set {server} to {wanted}: {answer.strip()}",
                "`./stackctl status` shows the servers that it knows.",
            )


def _limiting(limits: dict[str, int]) -> list[str]:
    """Return the commands that set how many requests at once each server gets."""
    return [f"set maxconn server {BACKEND}/{name} {limit}" for name, limit in limits.items()]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
