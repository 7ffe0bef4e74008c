"""A fake Application Load Balancer: HAProxy, configured like that of AWS.

It appends to X-Forwarded-For, never retries, and registers a target only when it is healthy. A
deregistered target finishes its requests, within DeregistrationDelay.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html
"""

import csv
import io
import socket
import time
from pathlib import Path

from tests.eb.docker import Container, remove
from tests.ports import free_port
from tests.waiting import eventually

SLOTS = 6
CONFIG = """\
global
    log stdout format raw local0 info
    stats socket ipv4@0.0.0.0:9999 level admin

defaults
    mode http
    log global
    # No retries, so that clients see every failed request.
    retries 0
    timeout connect 5s
    timeout http-request {idle}s
    timeout http-keep-alive {idle}s
    timeout client {idle}s
    timeout server {idle}s

frontend listener
    bind :8080
    acl claimed req.fhdr(X-Forwarded-For) -m found
    http-request set-header X-Forwarded-For "%[req.fhdr(X-Forwarded-For)], %[src]" if claimed
    http-request set-header X-Forwarded-For %[src] unless claimed
    http-request set-header X-Forwarded-Proto http
    default_backend targets

backend targets
    balance roundrobin
    option httpchk
    http-check send meth GET uri {path} ver HTTP/1.1 hdr Host 10.0.0.1
    http-check expect status {status}
    default-server check inter {interval}ms fall {fall} rise {rise} disabled
{slots}
"""


class Balancer:
    """The container of the balancer, and the slot of each instance."""

    def __init__(self, name: str, network: str, folder: Path) -> None:
        """Prepare it; `start` runs it."""
        self.name = name
        self.network = network
        self.folder = folder
        self.port = free_port()
        self.admin = free_port()
        self.targets: dict[str, str] = {}
        # Registrations ("in") and deregistrations ("out") with the name of the instance.
        self.history: list[tuple[str, str]] = []
        # Seconds that each deregistered instance took to finish its requests.
        self.waits: list[float] = []

    def start(self, process: dict[str, str], idle: int, scale: float) -> None:
        """Start HAProxy.

        Args:
            process: the settings of the environment's default process.
            idle: the idle timeout of connections, in seconds.
            scale: the factor for intervals, which shortens the tests.
        """
        slots = "\n".join(f"    server s{number} 127.0.0.1:80" for number in range(SLOTS))
        text = CONFIG.format(
            idle=idle,
            path=process["HealthCheckPath"],
            status=process["MatcherHTTPCode"],
            interval=int(float(process["HealthCheckInterval"]) * 1000 * scale),
            fall=process["UnhealthyThresholdCount"],
            rise=process["HealthyThresholdCount"],
            slots=slots,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "haproxy.cfg").write_text(text)
        Container(self.name).run(
            *("--network", self.network),
            *("--publish", f"127.0.0.1:{self.port}:8080"),
            *("--publish", f"127.0.0.1:{self.admin}:9999"),
            *("--volume", f"{self.folder}:/usr/local/etc/haproxy:ro"),
            "haproxy:3.0",
        )
        eventually(lambda: self.ask("show info"), seconds=30, what="the balancer answers")

    def stop(self) -> None:
        """Remove it."""
        remove(self.name)

    def ask(self, command: str) -> str:
        """Send a command to the runtime API of HAProxy, and return the response."""
        with socket.create_connection(("127.0.0.1", self.admin), timeout=5) as connection:
            connection.sendall(f"{command}\n".encode())
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()

    def register(self, instance: str, address: str) -> None:
        """Send requests to an instance, which is healthy."""
        slot = next(f"s{n}" for n in range(SLOTS) if f"s{n}" not in self.targets.values())
        self.targets[instance] = slot
        self.ask(f"set server targets/{slot} addr {address} port 80")
        self.ask(f"set server targets/{slot} state ready")
        self.history.append(("in", instance))

    def deregister(self, instance: str, delay: float) -> None:
        """Drain an instance: no new requests, at most `delay` seconds for running ones."""
        slot = self.targets.pop(instance, None)
        if slot is None:
            return
        self.ask(f"set server targets/{slot} state drain")
        started = time.monotonic()
        idle_checks = 0
        # A request may be on its way between two checks, so wait for three idle ones.
        while idle_checks < 3 and time.monotonic() < started + delay:
            idle_checks = idle_checks + 1 if self.sessions(slot) == 0 else 0
            time.sleep(0.2)
        self.waits.append(time.monotonic() - started)
        self.ask(f"set server targets/{slot} state maint")
        self.history.append(("out", instance))

    def sessions(self, slot: str) -> int:
        """Return the number of running requests of a slot."""
        rows = csv.DictReader(io.StringIO(self.ask("show stat").lstrip("# ")))
        return next(
            int(row["scur"]) for row in rows if (row["pxname"], row["svname"]) == ("targets", slot)
        )
