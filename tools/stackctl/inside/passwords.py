"""The passwords of the stack's own servers: whether one is accepted, and how it changes.

A password goes to a server's container by standard input: no list of processes shows it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..common import process
from ..common.faults import StackctlError
from ..docker import compose, engine
from . import databases

# How the scripts in inside/ end where the password is refused.
REFUSED: Final = 3
_INSIDE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Password:
    """A password of a server of the stack."""

    name: str
    # The service, and the variable of its clients.
    service: str
    variable: str
    # The variable that names another server, and the value of HOST that names this one.
    url: str
    host: tuple[str, str]

    @property
    def names(self) -> frozenset[str]:
        """The variables of containers that have it."""
        own = {self.variable}
        # remove_postgres: begin
        if self.service == compose.DATABASE:
            own.add("POSTGRES_PASSWORD")
        # remove_postgres: end
        return frozenset(own)

    def is_own(self, project: compose.Project) -> bool:
        """Return whether the application uses the stack's own server."""
        given = project.environment(project.servers[0])
        host, own = self.host
        return not given.get(self.url) and given.get(host, own) == own

    def is_changed(self, project: compose.Project, variables: Collection[str]) -> bool:
        """Return whether these variables change the password of the stack's own server."""
        return (
            not self.names.isdisjoint(variables)
            and self.service in project.services
            and self.is_own(project)
        )

    def command(self, project: compose.Project, *arguments: str) -> tuple[str, ...]:
        """Return the command that runs an action of the service's script in its container.

        Raises:
            StackctlError: the service is not running.
        """
        container = project.containers().get(self.service)
        if container is None or not container.running:
            raise StackctlError(f"{self.service} is not running", "Start the stack: ./stackctl up")
        if self.service == compose.DATABASE:
            server = databases.server_of(str(project.services[self.service].get("image", "")))
            script = (server or databases.SERVERS[0]).script
        else:
            script = f"{self.service}.sh"
        text = (_INSIDE / script).read_text(encoding="utf-8")
        return ("docker", "exec", "-i", container.id, "bash", "-c", text, script, *arguments)

    def accepts(self, project: compose.Project, password: str) -> bool:
        """Return whether the server accepts a password.

        Raises:
            StackctlError: it does not answer.
        """
        result = self._run(project, "knows", password=password)
        if result.code not in (0, REFUSED):
            raise StackctlError(
                f"{self.service} does not answer: {result.text()[-300:]}",
                f"docker compose logs --tail 30 {self.service}",
            )
        return result.code == 0

    def accept(self, project: compose.Project, password: str) -> None:
        """Have the server accept a password, and the former one until it is retired.

        Raises:
            StackctlError: the service is not running, or refuses.
        """
        clients = project.containers()
        addresses = [
            address
            for name in (*project.servers, *project.workers)
            if name in clients
            for address in sorted(clients[name].addresses.values())
        ]
        self._done(self._run(project, "accept", "", *addresses, password=password))

    def retire(self, project: compose.Project, password: str) -> None:
        """Have the server refuse every password but this one.

        Raises:
            StackctlError: the service is not running, or refuses.
        """
        self._done(self._run(project, "retire", password=password))

    def _run(self, project: compose.Project, *arguments: str, password: str) -> process.Result:
        return process.run(*self.command(project, *arguments), stdin=f"{password}\n")

    def _done(self, result: process.Result) -> None:
        if not result.ok:
            raise StackctlError(
                f"the password of {self.service} cannot be changed: {result.text()[-300:]}",
                f"docker compose logs --tail 30 {self.service}",
            )


DB: Final = Password("db", "db", "DB_PASSWORD", "DATABASE_URL", ("DB_HOST", "db"))
REDIS: Final = Password("redis", "redis", "REDIS_PASSWORD", "REDIS_URL", ("REDIS_HOST", "redis"))
BROKER: Final = Password(
    "broker", "broker", "BROKER_PASSWORD", "CELERY_BROKER_URL", ("BROKER_HOST", "broker")
)
PASSWORDS: Final = {password.name: password for password in (DB, REDIS, BROKER)}


def is_rotated(project: compose.Project, container: engine.Container) -> bool:
    """Return whether a container differs by a password alone, and its server accepts that now.

    `rotate` recreates no server: the container has the variable of its start until then.
    """
    present = project.environment(container.service)
    changed = {name for name, text in present.items() if container.environ.get(name) != text}
    for password in PASSWORDS.values():
        if password.service == container.service:
            value = project.secret(password.variable)
            try:
                return (
                    bool(changed) and changed <= password.names and password.accepts(project, value)
                )
            except StackctlError:
                return False
    return False
