"""A renewed certificate while visitors are there."""

import time
from dataclasses import dataclass

import httpx
import pytest

from tests.chaos.conftest import check_nothing_lost
from tests.chaos.load import TIMEOUT_SECONDS, Client, Load, Outcome, Request, mixed_clients
from tests.chaos.load import always as each_time
from tests.chaos.reliability import Figures
from tests.chaos.test_reload import reloaded
from tests.stack.compose import Stack
from tests.stack.tls import Secure, make_certificate, with_certificate


@dataclass
class Http2Client(Client):
    """A visitor whose requests share one HTTP/2 connection, as a browser's do."""

    client: httpx.Client | None = None

    def ask(self, port: int, request: Request) -> Outcome:
        """Send one request and wait for all of its answer."""
        started = time.monotonic()
        status, error = 0, ""
        try:
            status = self.answer(port, request)
        except httpx.HTTPError as reason:
            error = repr(reason)
            self.hang_up()
        return Outcome(request, started, time.monotonic() - started, status, error)

    def answer(self, port: int, request: Request) -> int:
        """Return the answer's status, asking again where a browser does.

        A server that is about to close says so (GOAWAY), and still answers what was on its way;
        httpx gives that up, where a browser waits or tries again.
        https://www.rfc-editor.org/rfc/rfc9113#section-6.8
        """
        address = f"https://127.0.0.1:{port}{request.path}"
        try:
            return self.opened().request(request.method, address).status_code
        except httpx.RemoteProtocolError as reason:
            if "ConnectionTerminated error_code:0," not in str(reason):
                raise
            self.hang_up()
            return self.opened().request(request.method, address).status_code

    def opened(self) -> httpx.Client:
        """Return the client with its one connection, if it is open."""
        assert self.trusting
        self.client = self.client or httpx.Client(
            http1=False, http2=True, verify=self.trusting, timeout=TIMEOUT_SECONDS
        )
        return self.client

    def hang_up(self) -> None:
        """Close the connection."""
        if self.client is not None:
            self.client.close()
            self.client = None


def secure_clients(static: str, tls: Secure) -> list[Client]:
    """Return the usual 32 visitors, by https, and four by HTTP/2."""
    clients = mixed_clients(static)
    clients += [Http2Client(each_time("GET", "/profile/")()) for _ in range(4)]
    for client in clients:
        # One each: httpx writes into it that it wants HTTP/2.
        client.trusting = tls.trusting()
    return clients


def test_a_renewed_certificate_costs_nothing(loaded: Stack, static: str, figures: Figures) -> None:
    with with_certificate(loaded) as tls:
        serials = [tls.serial()]
        load = Load(tls.port, secure_clients(static, tls))
        with load:
            load.warm_up()
            for _ in range(3):
                make_certificate(loaded, "--force")
                # It is not in service before it is brought there.
                assert tls.serial() == serials[-1]
                reloaded(loaded)
                serials.append(tls.serial())
                load.all_served_again()

        figures.add(
            "by https and HTTP/2, three times a renewed certificate and `stackctl reload`",
            "0 failed; new visitors are shown the new certificate",
            load,
        )
        assert len(set(serials)) == 4
        with httpx.Client(http1=False, http2=True, verify=tls.trusting()) as client:
            assert client.get(tls.url("/loadtest/stream/1")).text == "0\n"
            # A reset of its stream, which HTTP/2 has in place of a closed connection.
            with pytest.raises(httpx.RemoteProtocolError, match="StreamReset"):
                client.get(tls.url("/loadtest/stream/1?fail"))
        check_nothing_lost(load, loaded)
