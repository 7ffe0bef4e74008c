"""A real mail server for tests: aiosmtpd on a free port of 127.0.0.1."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from tests.ports import free_port

USER, PASSWORD = "shop@example.com", "pa/ss+w@rd"


class Mails:
    """Keeps what the server accepts; `refusals` are its next answers to RCPT."""

    def __init__(self) -> None:
        """Begin empty."""
        self.envelopes: list[Envelope] = []
        self.refusals: list[str] = []
        self.sessions: list[Session] = []

    @property
    def messages(self) -> list[EmailMessage]:
        """Return the accepted mails."""
        return [
            message_from_bytes(envelope.original_content or b"", policy=policy.default)
            for envelope in self.envelopes
        ]

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refusals:
            return self.refusals.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        self.sessions.append(session)
        return "250 OK"


def sign_in(server: Any, session: Session, envelope: Envelope, how: str, data: Any) -> AuthResult:
    """Accept one user."""
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (
        USER.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=good, handled=False)


@contextmanager
def mail_server(
    scheme: str = "smtp", certificate: Path | None = None, *, login: bool = False, port: int = 0
) -> Iterator[tuple[Mails, int]]:
    """Run a server during the block, and yield what it accepts, and its port.

    Args:
        scheme: smtp, smtp+tls (it requires STARTTLS) or smtp+ssl (TLS from the start).
        certificate: the folder of its certificate, for TLS.
        login: whether it accepts mails only after a login as USER.
        port: where it listens; a free port if 0.
    """
    mails = Mails()
    options: dict[str, Any] = {}
    tls = context(certificate) if certificate else None
    if scheme == "smtp+tls":
        options |= {"tls_context": tls, "require_starttls": True}
    if login:
        options |= {"authenticator": sign_in, "auth_required": True, "auth_require_tls": False}
    controller = Controller(
        mails,
        hostname="127.0.0.1",
        port=port or free_port(),
        ssl_context=tls if scheme == "smtp+ssl" else None,
        **options,
    )
    controller.start()
    try:
        yield mails, controller.port
    finally:
        controller.stop()


def context(folder: Path) -> ssl.SSLContext:
    """Return a server's TLS context with the certificate in a folder."""
    result = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    result.load_cert_chain(folder / "fullchain.pem", folder / "privkey.pem")
    return result


@contextmanager
def hanging_server() -> Iterator[int]:
    """Accept connections during the block and never answer; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]
