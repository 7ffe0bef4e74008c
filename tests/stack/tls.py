"""A stack with a certificate of a local CA, and a TLS client."""

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.ports import free_port
from tests.stack.compose import Stack

FOLDER = "certs/localhost"


@dataclass(frozen=True)
class SecureStack:
    """A stack whose HAProxy terminates TLS."""

    stack: Stack
    port: int

    @property
    def folder(self) -> Path:
        """Return the folder of the certificate and its key."""
        return self.stack.tree / FOLDER

    @property
    def authority(self) -> Path:
        """Return the certificate of the local CA."""
        return self.stack.tree / "certs" / "ca.pem"

    def ssl_context(self) -> ssl.SSLContext:
        """Return a client context that trusts only the local CA."""
        return ssl.create_default_context(cafile=str(self.authority))

    def handshake(self, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
        """Return a connection after the TLS handshake."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return context.wrap_socket(connection, server_hostname=name)

    def serial(self) -> str:
        """Return the serial number of the certificate that new connections get."""
        with self.handshake(self.ssl_context()) as connection:
            certificate = connection.getpeercert()
        assert certificate
        return str(certificate["serialNumber"])

    def url(self, path: str) -> str:
        """Return an HTTPS URL of the site."""
        return f"https://localhost:{self.port}{path}"

    def get(self, path: str, **options: object) -> requests.Response:
        """Send a GET request over HTTPS."""
        return requests.get(self.url(path), verify=str(self.authority), timeout=30, **options)  # type: ignore[arg-type]


def make_certificate(stack: Stack, *arguments: str) -> None:
    """Create a certificate with stackctl."""
    subprocess.run(
        [sys.executable, "-m", "tools.stackctl", "certs", *arguments],
        cwd=stack.tree,
        env=stack.environment,
        check=True,
        capture_output=True,
    )


@contextmanager
def with_certificate(stack: Stack) -> Iterator[SecureStack]:
    """Run a stack with a certificate during the block."""
    port = free_port()
    plain = dict(stack.environment)
    if not (stack.tree / FOLDER).exists():
        make_certificate(stack)
    stack.environment |= {"TLS_CERTIFICATE": FOLDER, "HTTPS_PORT": str(port)}
    try:
        start_balancer(stack)
        yield SecureStack(stack, port)
    finally:
        stack.environment = plain
        start_balancer(stack)


def start_balancer(stack: Stack) -> None:
    """Start or recreate HAProxy with the current environment."""
    stack.compose("up", "--detach", "--wait", "haproxy")
