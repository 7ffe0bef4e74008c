"""Faults of TLS with a database or Redis. They are no outage: no waiting ends them."""

import re
from collections.abc import Iterator

# A handshake that was cut off is none: the server may have stopped in the middle of it.
FAULT = re.compile(
    r"certificate|private key file|ssl_?mode|(ssl|tls) (is|was) required|not support ssl"
    r"|insecure transport|no pg_hba.*no encryption|wrong.version.number|handshake failure|\balert\b"
    r"|verification failed|unsupported protocol",
    re.IGNORECASE,
)
NO_TLS_THERE = re.compile(
    r"(ssl|tls) (is|was) required|not support ssl|wrong.version.number", re.IGNORECASE
)
TLS_NEEDED = re.compile(r"insecure transport|no encryption", re.IGNORECASE)
OTHER_HOST = re.compile(r"host ?name|not valid for", re.IGNORECASE)
OTHER_AUTHORITY = re.compile(r"certificate|verification failed", re.IGNORECASE)


def is_fault(error: BaseException) -> bool:
    """Return whether client and server did not agree on TLS."""
    return any(FAULT.search(str(each)) for each in chain(error))


def reason(error: BaseException, mode: str, authority: str) -> str:
    """Return what is wrong, and the next step, for anyone; empty where TLS is not the fault.

    Args:
        error: what the client raised.
        mode: the variable that switches TLS on.
        authority: the variable that names who signs the server's certificate.
    """
    words = next((str(each) for each in chain(error) if FAULT.search(str(each))), "")
    if not words:
        return ""
    if TLS_NEEDED.search(words):
        return f"TLS: the server requires it; set {mode}"
    if NO_TLS_THERE.search(words):
        return f"TLS: the server offers none; enable it there, or change {mode}"
    if OTHER_HOST.search(words):
        return f"TLS: the server's certificate is for another host; check the host and {mode}"
    if OTHER_AUTHORITY.search(words):
        return f"TLS: the server's certificate is not trusted; check {authority}"
    return f"TLS: the handshake failed; check {mode}"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it was raised from: clients wrap that of the handshake."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
