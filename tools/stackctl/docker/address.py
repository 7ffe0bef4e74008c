"""Where this machine reaches the site and the other published ports."""

from __future__ import annotations

from dataclasses import dataclass

# The balancer's ports in its container.
HTTP, HTTPS = 8080, 8443
# All of the machine's addresses, and the one for requests from the machine itself.
OWN = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (never listened on)


@dataclass(frozen=True, slots=True)
class Site:
    """The address at which this machine requests the site."""

    address: str
    port: int
    tls: bool = False
    # HAProxy requires the PROXY protocol from TRUSTED_PROXIES, of which this machine may be one.
    proxy_protocol: bool = False

    @property
    def url(self) -> str:
        """Return the address for a browser on this machine."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        host = "localhost" if self.address in ("127.0.0.1", "::1") else address
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/"


@dataclass(frozen=True, slots=True)
class Published:
    """A port of this machine that leads to a service's own, `target`."""

    service: str
    address: str
    port: int
    target: int
