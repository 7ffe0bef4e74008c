"""What HAProxy knows of its servers, and should still know after a reload: its server state file.

Made of what `show servers state` answers, in the words that are about the servers' condition. Where
a server is and how it is reached is for the configuration to say, which the reload is about:
HAProxy would take port, TLS and check address from the file all the same.
https://docs.haproxy.org/3.0/management.html#9.3-show%20servers%20state
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

VERSION = "1"
# The first 20 words of a row are required, and the rest is left out: TLS, the check's address.
BACKEND, SERVER, ADDRESS, ADMIN, HOST, PORT, RECORD = 1, 3, 4, 6, 17, 18, 19
# Of the administrative state the maintenance and the drain that a user requested.
FORCED = 0x01 | 0x08
_NONE = "-"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the configuration says that a server is."""

    host: str
    port: int


def state_file(answer: str, servers: dict[tuple[str, str], Address]) -> str:
    """Return the text of the state file for the next configuration.

    Args:
        answer: what HAProxy answered to `show servers state`.
        servers: where the next configuration's servers are; those that it does not name are left
            out.

    Raises:
        ValueError: the answer is of another kind or version; a reload would forget who is drained.
    """
    kept = [_row(row, servers) for row in _rows(answer)]
    return "".join(f"{line}\n" for line in (VERSION, *filter(None, kept)))


def drained_by_hand(answer: str) -> Iterator[tuple[str, str]]:
    """Yield the backend and server of each that a user took out of service, as it answers.

    Raises:
        ValueError: as `state_file`.
    """
    for row in _rows(answer):
        if int(row[ADMIN]) & FORCED:
            yield row[BACKEND], row[SERVER]


def _rows(answer: str) -> list[list[str]]:
    first, *lines = answer.strip().splitlines() or [""]
    if first.strip() != VERSION:
        raise ValueError(f"version {first[:20]!r} where {VERSION} belongs")
    rows = (line.split() for line in lines if line.strip() and not line.startswith("#"))
    return [row for row in rows if len(row) > RECORD]


def _row(row: list[str], servers: dict[tuple[str, str], Address]) -> str:
    address = servers.get((row[BACKEND], row[SERVER]))
    if address is None:
        return ""
    if row[HOST] != address.host:
        # Renamed: the old one's address would be used until the new one is resolved.
        row[ADDRESS] = _NONE
    row[HOST], row[PORT], row[RECORD] = _NONE, str(address.port), _NONE
    return " ".join(row[: RECORD + 1])
