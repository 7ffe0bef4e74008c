"""E-mail: the server that sends it, and the addresses."""

from __future__ import annotations

from typing import Final

from ops.environment import validators
from ops.environment.variable import Kind, Section, Variable

MAIL: Final = Section(
    "Email",
    "The mail server and the addresses: docs/email.md. Without EMAIL_URL production sends no mail, "
    "dev prints mails to the worker's log, and the local layer also shows them at /status/mails/.",
    (
        Variable(
            name="EMAIL_URL",
            kind=Kind.URL,
            help="The mail server: smtp+tls://user:password@host:587 (STARTTLS), "
            "smtp+ssl://user:password@host:465 (TLS from the start), smtp://host:25 (without "
            "TLS), or consolemail:// for the worker's log.",
            secret=True,
            validate=validators.email_url,
        ),
        Variable(
            name="EMAIL_TIMEOUT",
            kind=Kind.INT,
            help="Seconds that the worker waits for an answer of the mail server.",
            default="10",
            minimum=1,
            maximum=60,
        ),
        Variable(
            name="DEFAULT_FROM_EMAIL",
            help="The sender of all mails: shop@example.com, or Shop <shop@example.com>.",
            validate=validators.sender,
        ),
        Variable(
            name="ADMINS",
            kind=Kind.LIST,
            help="Addresses that get a mail about an error of the site, one a minute at most.",
            validate=validators.email_address,
        ),
    ),
)
