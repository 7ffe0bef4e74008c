"""An application load balancer for the rehearsal: HAProxy, made to behave like AWS's.

It appends to X-Forwarded-For, never repeats a request, and knows a target only once it has been
found healthy. A target that leaves finishes its requests: for DeregistrationDelay at most, and no
longer than it has some.
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
    # No second try: whatever gets lost is seen.
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
    """The balancer's container, and which instance is in which of its places."""

    def __init__(self, name: str, network: str, folder: Path) -> None:
        """Describe it; `start` runs it."""
        self.name = name
        self.network = network
        self.folder = folder
        self.port = free_port()
        self.admin = free_port()
        self.targets: dict[str, str] = {}
        # What happened, for the tests: ("in" or "out", the instance).
        self.history: list[tuple[str, str]] = []
        # Seconds that each instance that left took to finish its requests.
        self.waits: list[float] = []

    def start(self, process: dict[str, str], idle: int, scale: float) -> None:
        """Run it.

        Args:
            process: the settings of the environment's default process.
            idle: seconds that a connection may rest.
            scale: what intervals are multiplied by, so that a test need not wait for minutes.
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
        """Take it away."""
        remove(self.name)

    def ask(self, command: str) -> str:
        """Send a command to HAProxy's runtime and return its answer."""
        with socket.create_connection(("127.0.0.1", self.admin), timeout=5) as connection:
            connection.sendall(f"{command}\n".encode())
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()

    def register(self, instance: str, address: str) -> None:
        """Let an instance have requests. It has been found healthy before."""
        slot = next(f"s{n}" for n in range(SLOTS) if f"s{n}" not in self.targets.values())
        self.targets[instance] = slot
        self.ask(f"set server targets/{slot} addr {address} port 80")
        self.ask(f"set server targets/{slot} state ready")
        self.history.append(("in", instance))

    def deregister(self, instance: str, delay: float) -> None:
        """Give an instance nothing new, and wait for what it has; at most `delay` seconds."""
        slot = self.targets.pop(instance, None)
        if slot is None:
            return
        self.ask(f"set server targets/{slot} state drain")
        begun = time.monotonic()
        quiet = 0
        # Between two looks a request may be on its way; three without one are none.
        while quiet < 3 and time.monotonic() < begun + delay:
            quiet = quiet + 1 if self.sessions(slot) == 0 else 0
            time.sleep(0.2)
        self.waits.append(time.monotonic() - begun)
        self.ask(f"set server targets/{slot} state maint")
        self.history.append(("out", instance))

    def sessions(self, slot: str) -> int:
        """Return how many requests a place has now."""
        rows = csv.DictReader(io.StringIO(self.ask("show stat").lstrip("# ")))
        return next(
            int(row["scur"]) for row in rows if (row["pxname"], row["svname"]) == ("targets", slot)
        )
