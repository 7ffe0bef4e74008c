"""Can HAProxy listen where its next configuration says? Tried in its container before it matters.

`haproxy -c` does not check that. A new process that fails to bind has the one that serves stop
listening for two seconds while it tries again, and visitors are turned away meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..common import outputs
from ..common.faults import StackctlError
from ..docker import engine

BIND = Path(__file__).parents[1] / "inside/bind.pl"
# The address families that have an address and a port.
_FAMILY = re.compile(r"^(?:tcp|ipv4|ipv6)@")


def require(container: str, dump: Iterable[str], shown: str) -> None:
    """Try every address that HAProxy's dump of its configuration binds.

    Args:
        container: HAProxy's container.
        dump: the lines that `haproxy -dC` prints.
        shown: the configuration's name for the person.

    Raises:
        StackctlError: it could not listen at one of them, or the test did not run.
    """
    wanted = "".join(f"{host} {port}\n" for host, port in addresses(dump))
    result = engine.execute(container, "perl", "-e", BIND.read_text(), stdin=wanted)
    with outputs.read("perl in HAProxy's container"):
        if not result.ok:
            raise ValueError(result.text())
        refused = [
            (host, port, reason)
            for host, port, reason in (line.split(maxsplit=2) for line in result.out.splitlines())
        ]
    if refused:
        raise StackctlError(
            f"HAProxy could not listen where {shown} says; nothing was changed, the previous "
            "configuration is in use",
            "\n".join(
                (
                    *(f"bind {host}:{port}: {reason}" for host, port, reason in refused),
                    "Correct it, then: ./stackctl reload",
                )
            ),
        )


def addresses(dump: Iterable[str]) -> list[tuple[str, int]]:
    """Return the addresses and ports that the configuration binds, of a range its two ends."""
    result = []
    for line in dump:
        words = line.split()
        if words[:1] != ["bind"] or len(words) < 2:
            continue
        for text in words[1].split(","):
            host, _, ports = _FAMILY.sub("", text).rpartition(":")
            if "@" in host or not re.fullmatch(r"\d+(-\d+)?", ports):
                # A unix socket, an inherited one, UDP.
                continue
            address = host.strip("[]")
            address = "0.0.0.0" if address in ("", "*") else address  # noqa: S104 (as HAProxy means)
            result += [(address, int(port)) for port in ports.split("-")]
    return result
