"""A stack's site with a certificate of a local authority, and a client that looks at TLS."""

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
    """A stack whose HAProxy speaks TLS."""

    stack: Stack
    port: int

    @property
    def folder(self) -> Path:
        """Return where the certificate and its key are."""
        return self.stack.tree / FOLDER

    @property
    def authority(self) -> Path:
        """Return the authority's certificate, as a client would trust it."""
        return self.stack.tree / "certs" / "ca.pem"

    def ssl_context(self) -> ssl.SSLContext:
        """Return a client's context that trusts the local authority and no other."""
        return ssl.create_default_context(cafile=str(self.authority))

    def handshake(self, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
        """Return a connection over which TLS is agreed upon."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return context.wrap_socket(connection, server_hostname=name)

    def serial(self) -> str:
        """Return the serial number of the certificate that a new visitor is shown."""
        with self.handshake(self.ssl_context()) as connection:
            shown = connection.getpeercert()
        assert shown
        return str(shown["serialNumber"])

    def url(self, path: str) -> str:
        """Return an address of the site by https."""
        return f"https://localhost:{self.port}{path}"

    def get(self, path: str, **options: object) -> requests.Response:
        """Ask the site by https."""
        return requests.get(self.url(path), verify=str(self.authority), timeout=30, **options)  # type: ignore[arg-type]


def make_certificate(stack: Stack, *arguments: str) -> None:
    """Make a certificate as a user does."""
    subprocess.run(
        [sys.executable, "-m", "tools.stackctl", "certs", *arguments],
        cwd=stack.tree,
        env=stack.environment,
        check=True,
        capture_output=True,
    )


@contextmanager
def with_certificate(stack: Stack) -> Iterator[SecureStack]:
    """Give a running stack a certificate for the block's time, as a user does."""
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
    """Start HAProxy with the present environment; what is as it should be stays as it is."""
    stack.compose("up", "--detach", "--wait", "haproxy")
