"""Apache next to nginx (APACHE=1): it picks servers itself, so stackctl drains them there too.

Like HAProxy's sockets, it is reached only by `docker exec`: variants/apache/member sends the
request inside the container.
"""

from __future__ import annotations

from ..common.faults import StackctlError
from ..docker import engine

MEMBER = "/etc/apache/member"


class Apache:
    """One running Apache.

    Each method raises StackctlError if it does not answer, or does not know the server.
    """

    def __init__(self, container: str) -> None:
        """Keep the container's id."""
        self.container = container

    def drain(self, server: str) -> None:
        """Send no new request to a server; running ones continue."""
        self._member(server, "off")

    def ready(self, server: str) -> None:
        """Let a server get requests again, once its health checks are good."""
        self._member(server, "on")

    def busy(self, server: str) -> int:
        """Return how many requests a server has from here."""
        return self._member(server)

    def _member(self, server: str, *change: str) -> int:
        """Read a server's entry, or change it.

        Raises:
            StackctlError: Apache does not answer, or does not know the server.
        """
        result = engine.execute(self.container, MEMBER, server, *change)
        if not result.ok or not result.out.strip().isdecimal():
            raise StackctlError(
                f"Apache does not report the state of {server}: {result.text()}",
                "Is it healthy? `docker compose logs --tail 30 apache`. "
                "`docker compose restart apache` restarts it, without failed requests.",
            )
        return int(result.out)
