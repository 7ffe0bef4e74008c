"""Certificate renewal under load."""

import time
from dataclasses import dataclass

import httpx
import pytest

from tests.chaos.conftest import check_nothing_lost
from tests.chaos.load import (
    TIMEOUT_SECONDS,
    Client,
    Load,
    Outcome,
    Request,
    mixed_clients,
    repeated,
)
from tests.chaos.reliability import Figures
from tests.chaos.test_reload import reload
from tests.stack.compose import Stack
from tests.stack.tls import SecureStack, make_certificate, with_certificate


@dataclass
class Http2Client(Client):
    """A client whose requests share one HTTP/2 connection, as in a browser."""

    client: httpx.Client | None = None

    def ask(self, port: int, request: Request) -> Outcome:
        """Send one request and read its whole response."""
        started = time.monotonic()
        status, error = 0, ""
        try:
            status = self.answer(port, request)
        except httpx.HTTPError as reason:
            error = repr(reason)
            self.close()
        return Outcome(request, started, time.monotonic() - started, status, error)

    def answer(self, port: int, request: Request) -> int:
        """Return the status; retry after GOAWAY, as browsers do.

        A server sends GOAWAY before it closes, and still answers requests that are on their way;
        httpx drops these requests.
        https://www.rfc-editor.org/rfc/rfc9113#section-6.8
        """
        address = f"https://127.0.0.1:{port}{request.path}"
        try:
            return self.http_client().request(request.method, address).status_code
        except httpx.RemoteProtocolError as reason:
            if "ConnectionTerminated error_code:0," not in str(reason):
                raise
            self.close()
            return self.http_client().request(request.method, address).status_code

    def http_client(self) -> httpx.Client:
        """Return the HTTP client; create it if it is closed."""
        assert self.ssl_context
        self.client = self.client or httpx.Client(
            http1=False, http2=True, verify=self.ssl_context, timeout=TIMEOUT_SECONDS
        )
        return self.client

    def close(self) -> None:
        """Close the connection."""
        if self.client is not None:
            self.client.close()
            self.client = None


def secure_clients(static: str, tls: SecureStack) -> list[Client]:
    """Return the default 32 clients over HTTPS, and four over HTTP/2."""
    clients = mixed_clients(static)
    clients += [Http2Client(repeated("GET", "/profile/")()) for _ in range(4)]
    for client in clients:
        # One context per client, since httpx sets its ALPN to HTTP/2.
        client.ssl_context = tls.ssl_context()
    return clients


def test_certificate_renewal_fails_no_request(loaded: Stack, static: str, figures: Figures) -> None:
    with with_certificate(loaded) as tls:
        serials = [tls.serial()]
        load = Load(tls.port, secure_clients(static, tls))
        with load:
            load.warm_up()
            for _ in range(3):
                make_certificate(loaded, "--force")
                # HAProxy uses the new certificate only after the reload.
                assert tls.serial() == serials[-1]
                reload(loaded)
                serials.append(tls.serial())
                load.wait_until_all_are_served()

        figures.add(
            "`stackctl reload` three times, each with a renewed certificate; HTTPS and HTTP/2",
            "0 failed; new connections get the new certificate",
            load,
        )
        assert len(set(serials)) == 4
        with httpx.Client(http1=False, http2=True, verify=tls.ssl_context()) as client:
            assert client.get(tls.url("/loadtest/stream/1")).text == "0\n"
            # HTTP/2 resets the stream instead of closing the connection.
            with pytest.raises(httpx.RemoteProtocolError, match="StreamReset"):
                client.get(tls.url("/loadtest/stream/1?fail"))
        check_nothing_lost(load, loaded)
