"""A fake HAProxy: its runtime API, its master process, and the site."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.unit.scripted.engine import Engine
    from tests.unit.scripted.model import Container

Answer = Callable[[str], tuple[int, str]]
BACKENDS = ("dynamic_backend", "static_backend")
COLUMNS = (
    *("pxname", "svname", "qcur", "scur", "slim", "status", "check_status", "addr"),
    *(f"hrsp_{code}" for code in ("1xx", "2xx", "3xx", "4xx", "5xx", "other")),
)
# A server is up this long after its container is healthy: two good checks.
CHECK_SECONDS = 2.0
FORMER_SECONDS = 3.0
# Measured with HAProxy 3.0, which first shows a drained server that ended as DOWN.
HOLD_SECONDS = 30.0


@dataclass
class Balancer:
    """A HAProxy in front of the servers of the engine."""

    engine: Engine
    # The servers that its configuration names.
    names: list[str] = field(default_factory=lambda: ["server1", "server2"])
    # `drain` or `maint`, by backend and server.
    admin: dict[tuple[str, str], str] = field(default_factory=dict)
    # When each running request ends, by server.
    requests: dict[str, list[float]] = field(default_factory=dict)
    # Until when a request waits in the queue of a server.
    waiting: dict[str, float] = field(default_factory=dict)
    # Until when a server that was in maintenance is not checked.
    unchecked: dict[str, float] = field(default_factory=dict)
    # Until when it has the former address of a recreated server.
    stale: dict[str, float] = field(default_factory=dict)
    # Requests per second to each server that is up.
    traffic: float = 50.0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    limits: dict[str, int] = field(default_factory=dict)
    # The address of each server that stackctl set.
    addresses: dict[str, str] = field(default_factory=dict)
    silent: str = ""
    pid: int = 8
    # Before this moment, the former process answers.
    answers_from: float = 0.0
    # The former processes, with the moment of their end.
    former: dict[int, float] = field(default_factory=dict)
    reloads: str = "Success=1\n--\n"
    _counted: float = 1000.0

    def status(self, backend: str, name: str) -> tuple[str, str]:
        """Return a server's status and its last check."""
        admin = self.admin.get((backend, name), "ready")
        if admin == "maint":
            return "MAINT", ""
        container = self.container(name)
        if container is None:
            return ("MAINT (resolution)", "") if self.is_unresolved(name) else ("DOWN", "L4TOUT")
        behaviour = self.engine.behaviour(container)
        if behaviour.check != "L7OK":
            return "DOWN", behaviour.check
        if container.health_at(self.engine.clock.now - CHECK_SECONDS, behaviour) != "healthy":
            return "DOWN", "L7STS"
        is_checked = self.engine.clock.now >= self.unchecked.get(name, 0.0)
        return ("DRAIN" if admin == "drain" else "UP"), "L7OK" if is_checked else "INI"

    def container(self, name: str) -> Container | None:
        """Return the running container that receives a server's requests."""
        running = [c for c in self.engine.replicas.of_service(name) if c.status == "running"]
        chosen = [c for c in running if c.address == self.addresses.get(name)]
        return next(iter([*chosen, *running]), None)

    def is_unresolved(self, name: str) -> bool:
        """Return whether a container ended so long ago that HAProxy forgets its address."""
        result = self.engine.containers.get(name)
        ended = result.finished if result and result.status == "exited" else "-"
        return ended[0].isdigit() and self.engine.clock.now > float(ended) + HOLD_SECONDS

    def up(self) -> list[str]:
        """Return the servers that receive requests."""
        return [name for name in self.names if self.status(BACKENDS[0], name)[0] == "UP"]

    def drained(self) -> set[str]:
        """Return the servers that a user took out of service."""
        return {name for _, name in self.admin}

    def count_traffic(self) -> None:
        """Count the requests since the last call."""
        passed, self._counted = self.engine.clock.now - self._counted, self.engine.clock.now
        for name in self.up():
            container = self.container(name)
            assert container is not None
            share = self.engine.behaviour(container).errors
            self.counts[name, "2xx"] += round(1000 * self.traffic * passed * (1 - share))
            self.counts[name, "5xx"] += round(1000 * self.traffic * passed * share)

    def command(self, line: str) -> str:
        """Answer one command of the runtime API."""
        match line.split():
            case ["show", "stat"]:
                return self.stat()
            case ["show", "info"]:
                is_former = self.engine.clock.now < self.answers_from
                return f"Name: HAProxy\nPid: {self.pid - is_former}\n"
            case ["show", "servers", "state"]:
                return self.servers_state()
            case ["set", "server", place, "state", state]:
                backend, _, name = place.partition("/")
                if name not in self.names:
                    return "No such server.\n"
                if backend == BACKENDS[0] and (reply := self.engine.step(f"{state} {name}")):
                    return reply.out
                if self.admin.get((backend, name)) == "maint":
                    self.unchecked[name] = self.engine.clock.now + CHECK_SECONDS
                if state == "ready":
                    self.admin.pop((backend, name), None)
                else:
                    self.admin[backend, name] = state
                return "\n"
            case ["set", "server", place, "addr", address]:
                backend, _, name = place.partition("/")
                if backend == "slow_backend":
                    return "No such backend.\n\n"
                if name not in self.names:
                    return "No such server.\n\n"
                if backend == BACKENDS[0]:
                    [one] = [
                        c for c in self.engine.replicas.of_service(name) if c.address == address
                    ]
                    if reply := self.engine.step(f"move {name} to {one.environ['RELEASE']}"):
                        return reply.out
                    self.addresses[name] = address
                return f"IP changed from '10.0.0.1' to '{address}' by 'stats socket command'\n\n"
            case ["set", "maxconn", "server", place, limit]:
                self.limits[place.partition("/")[2]] = int(limit)
                return "\n"
        return f"Unknown command: {line}\n"

    def master(self, line: str) -> str:
        """Answer one command of the master process."""
        self.former = {pid: end for pid, end in self.former.items() if end > self.engine.clock.now}
        match line.split():
            case ["show", "proc"]:
                rows = [f"{pid}\tworker\t1\t0d00h00m10s\t3.0.11" for pid in self.former]
                head = f"# workers\n{self.pid}\tworker\t0\t0d00h00m00s\t3.0.11\n# old workers"
                return "\n".join(["#<PID>  <type>", "1\tmaster\t1", head, *rows, "# programs", ""])
            case ["reload"]:
                if reply := self.engine.step("reload"):
                    return reply.out
                if self.reloads.startswith("Success=1"):
                    self.former[self.pid] = self.engine.clock.now + FORMER_SECONDS
                    self.pid += 1
                    self.answers_from = self.engine.clock.now + 1.0
                    self.limits.clear()
                    # A new process knows only the servers in the state file.
                    kept = self.engine.state_file.split()
                    self.admin = {k: v for k, v in self.admin.items() if k[1] in kept}
                return self.reloads
            case ["@1", *command]:
                return self.command(" ".join(command))
        return f"Unknown command: {line}\n"

    def stat(self) -> str:
        """Return the statistics as CSV, with the columns that stackctl reads."""
        self.count_traffic()
        rows = []
        for backend in BACKENDS:
            rows.append([backend, "BACKEND", *["0"] * 3, "UP", "", "", *["0"] * 6])
            for name in self.names:
                status, check = self.status(backend, name)
                running = [
                    end for end in self.requests.get(name, ()) if end > self.engine.clock.now
                ]
                queued = self.waiting.get(name, 0) > self.engine.clock.now
                container = self.container(name)
                is_stale = self.stale.get(name, 0) > self.engine.clock.now
                address = container.address if container and not is_stale else "10.0.0.9"
                answers = [str(self.counts[name, code] // 1000) for code in ("2xx", "5xx")]
                rows.append(
                    [
                        *(backend, name, str(int(queued))),
                        str(len(running) if backend == BACKENDS[0] else 0),
                        *(str(self.limits.get(name, 2)), status, check),
                        f"{address}:7999",
                        *("0", answers[0], "0", "0", answers[1], "0"),
                    ]
                )
        return "# " + "\n".join(",".join(row) for row in [list(COLUMNS), *rows]) + "\n\n"

    def servers_state(self) -> str:
        """Return the state of the servers, as a reload passes it on."""
        rows = [
            f"{3 + number} {backend} 1 {name} 10.0.0.1 2 "
            f"{self.admin_state(backend, name)} 1 1 9 15 3 3 6 0 0 0 {name} 7999 - 0 0"
            for number, backend in enumerate(BACKENDS)
            for name in self.names
        ]
        return "1\n# be_id be_name srv_id ...\n" + "\n".join(rows) + "\n\n"

    def admin_state(self, backend: str, name: str) -> int:
        """Return a server's administrative state: drained, in maintenance, without an address."""
        state = {"drain": 8, "maint": 1}.get(self.admin.get((backend, name), ""), 0)
        return state | (32 if self.is_unresolved(name) else 0)

    def answer(self, path: str) -> tuple[int, str]:
        """Answer a visitor, round robin over the servers that are up."""
        up = self.up()
        if not up:
            return 503, "<title>503 Service Unavailable</title>"
        self.counts["next", ""] += 1
        container = self.container(up[self.counts["next", ""] % len(up)])
        assert container is not None
        return self.engine.answer(container, path)


class Site:
    """The port of the site on this machine; each test sets the stack that answers."""

    def __init__(self) -> None:
        """Begin to listen."""
        self.answer: Answer = lambda _: (503, "")
        self.hosts: set[str] = set()
        site = self

        class Handler(BaseHTTPRequestHandler):
            """Answers like the present stack."""

            def do_GET(self) -> None:
                site.hosts.add(self.headers["Host"])
                status, body = site.answer(self.path)
                if not status:
                    return
                content = body.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def profile(server: str, release: str) -> str:
    """Return the response of /profile/."""
    return json.dumps({"server": server, "release": release})
