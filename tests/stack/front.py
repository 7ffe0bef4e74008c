"""A proxy in front of a stack: it ends TLS, speaks HTTP/2, and has visitors of both families."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

import requests

from tests.ports import free_port
from tests.stack.compose import docker
from tests.stack.tls import FOLDER
from tests.waiting import eventually

# The visitors: each of the proxy's first two ports connects to it from one of these addresses.
VISITORS = {"IPv4": "127.0.0.5", "IPv6": "::1"}
CONFIGURATION = Template("""
resolvers docker
    nameserver docker 127.0.0.11:53
defaults
    timeout connect 2s
    timeout client 40s
    timeout server 40s
listen visitor_v4
    bind :9004
    server front 127.0.0.1:443 source 127.0.0.5
listen visitor_v6
    bind :9006
    server front [::1]:443 source [::1]
frontend front
    mode http
    bind 127.0.0.1:443,[::1]:443 ssl crt /srv/front/site.pem alpn h2,http/1.1
    $headers
    default_backend stack
backend stack
    mode http
    server stack $target resolvers docker init-addr libc,none check inter 200ms $options
""")
HEADERS = """option forwardfor
    http-request set-header X-Forwarded-Proto https"""


@dataclass(frozen=True)
class Front:
    """A proxy that runs."""

    name: str
    ports: dict[str, int]
    authority: Path

    @property
    def address(self) -> str:
        """Return its address, which the stack sees."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return docker("inspect", "--format", template, self.name).strip()

    def url(self, family: str, path: str) -> str:
        """Return a URL of the site, as a visitor with an address of this family."""
        return f"https://localhost:{self.ports[family]}{path}"

    def ssl_context(self) -> ssl.SSLContext:
        """Return a client context that trusts only the local CA."""
        return ssl.create_default_context(cafile=str(self.authority))


@contextmanager
def front(
    name: str,
    network: str,
    target: str,
    tree: Path,
    folder: Path,
    *,
    headers: str = HEADERS,
    options: str = "",
) -> Iterator[Front]:
    """Run a proxy during the block.

    Args:
        name: of the container.
        network: where its target is.
        target: host and port of HAProxy.
        tree: the clone whose certs/ have a certificate for localhost.
        folder: an empty folder for its files.
        headers: lines of configuration, what it says of the visitor.
        options: of its server line.
    """
    folder.chmod(0o755)
    pem = "".join((tree / FOLDER / file).read_text() for file in ("fullchain.pem", "privkey.pem"))
    (folder / "site.pem").write_text(pem)
    text = CONFIGURATION.substitute(target=target, headers=headers, options=options)
    (folder / "haproxy.cfg").write_text(text)
    ports = {family: free_port() for family in VISITORS}
    docker(
        *("run", "--detach", "--name", name, "--network", network, "--user", "0"),
        *("--publish", f"127.0.0.1:{ports['IPv4']}:9004"),
        *("--publish", f"127.0.0.1:{ports['IPv6']}:9006"),
        *("--volume", f"{folder}:/srv/front:ro", "haproxy:3.0"),
        *("haproxy", "-f", "/srv/front/haproxy.cfg"),
    )
    try:
        yield Front(name, ports, tree / "certs" / "ca.pem")
    finally:
        docker("rm", "--force", name)


def wait_for(front: Front) -> None:
    """Wait until the site answers through a proxy."""
    url, ca_file = front.url("IPv4", "/readyz"), str(front.authority)
    eventually(
        lambda: requests.get(url, verify=ca_file, timeout=10).status_code == 200,
        seconds=20,
        what="the site answers through the proxy in front",
    )
