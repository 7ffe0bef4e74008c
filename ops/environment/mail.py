"""E-mail: what the mail server's variables need of each other."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from .fault import Fault
from .variable import SHARED, Value


def faults(values: Mapping[str, Value], layer: str, broken: set[str]) -> list[Fault]:
    """Return a fault if mails would be sent from Django's default address."""
    if broken & {"EMAIL_URL", "DEFAULT_FROM_EMAIL"} or layer not in SHARED:
        return []
    if not str(values["EMAIL_URL"]).startswith("smtp") or values["DEFAULT_FROM_EMAIL"]:
        return []
    problem = "it is not set, and EMAIL_URL is: mail servers refuse mails without a sender"
    return [Fault("DEFAULT_FROM_EMAIL", problem, "Set it: Shop <shop@example.com>.")]


def warnings(values: Mapping[str, Value]) -> list[Fault]:
    """Return a warning where the password crosses the network in plain text."""
    parts = urlsplit(str(values["EMAIL_URL"]))
    if parts.scheme != "smtp" or not parts.password:
        return []
    problem = "it sends the password without TLS"
    hint = "Write smtp+tls:// (STARTTLS, port 587) or smtp+ssl:// (TLS from the start, port 465)."
    return [Fault("EMAIL_URL", problem, hint)]
