"""Several containers of one service, as `docker compose up --scale` starts them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.unit.scripted.model import Container, Reply

if TYPE_CHECKING:
    from tests.unit.scripted.engine import Engine

SERVER_PORT = 7999


@dataclass
class Replicas:
    """The containers next to the first one of a service, the newest last."""

    engine: Engine
    others: list[Container] = field(default_factory=list)
    # In KiB. Without memory, a release replaces servers in place.
    available: int = 0
    used: int = 100_000
    # When the requests of a container end, by its id.
    requests: dict[str, float] = field(default_factory=dict)

    def of_service(self, service: str) -> list[Container]:
        """Return all containers of a service, the oldest first."""
        first = self.engine.containers.get(service)
        others = [one for one in self.others if one.service == service]
        return [first, *others] if first else others

    def start(self, services: list[str], scales: list[str]) -> Reply:
        """Start one more container of each service."""
        assert scales == [f"{service}=2" for service in services]
        release = self.engine.latest()
        if reply := self.engine.step(f"start {' '.join(services)} {release} next to it"):
            return reply
        for service in services:
            first = self.engine.containers[service]
            self.others.append(self.engine.create(service))
            self.engine.containers[service] = first
        return Reply()

    def docker(self, argv: list[str]) -> Reply | None:
        """Answer the docker client; None if it is another command."""
        match argv:
            case ["stop", *identities]:
                names = [self.known(identity).service for identity in identities]
                if reply := self.engine.step(f"stop former {' '.join(names)}"):
                    return reply
                for identity in identities:
                    self.known(identity).status = "exited"
                return Reply()
            case ["rm", "--force", "--volumes", *identities]:
                names = [self.known(identity).service for identity in identities]
                if reply := self.engine.step(f"remove {' '.join(names)}"):
                    return reply
                for identity in identities:
                    self.remove(self.known(identity))
                return Reply()
            case ["rename", identity, name]:
                one = self.known(identity)
                taken = [other for other in self.of_service(one.service) if other.name == name]
                if taken:
                    return Reply(1, err=f"Conflict. The name {name} is already in use")
                one.name = name
                return Reply()
        return None

    def remove(self, container: Container) -> None:
        """Remove a container; the next one of its service is the first then."""
        if container in self.others:
            self.others.remove(container)
            return
        del self.engine.containers[container.service]
        for other in self.of_service(container.service)[:1]:
            self.others.remove(other)
            self.engine.containers[container.service] = other

    def known(self, identity: str) -> Container:
        """Return a container by its id."""
        result = self.engine.by_id(identity)
        assert result is not None, identity
        return result

    def memory(self) -> str:
        """Return a server's memory in the format of the kernel."""
        return f"Pss:   {self.used} kB\nMemAvailable:   {self.available} kB\n"

    def connections(self, container: Container) -> str:
        """Return the rows of /proc/net/tcp: a listener, a health check, and open requests."""
        rows = [
            f"00000000:{SERVER_PORT:04X} 00000000:0000 0A",
            f"0100007F:{SERVER_PORT:04X} 0100007F:9C40 01",
            "050012AC:D2F0 030012AC:0CEA 01",
        ]
        if self.requests.get(container.id, 0.0) > self.engine.clock.now:
            rows.append(f"050012AC:{SERVER_PORT:04X} 040012AC:9C41 01")
        head = "  sl  local_address rem_address   st tx_queue rx_queue\n"
        return head + "".join(f"   {n}: {row} 00000000:00000000\n" for n, row in enumerate(rows))
