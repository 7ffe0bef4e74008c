"""Docker secrets of what .env has, so that no service's description has the value of one.

A Docker secret never changes, and only the containers that mount it can read it. So a changed
value is a new secret: STACK.NAME, then STACK.NAME.2. Its label has a fingerprint, by which the next
deploy knows the value again.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ops.environment.contract import VARIABLES
from ops.environment.files import MOUNTED, content
from ops.environment.secret_files import MIGRATION, READERS
from tools.swarmctl.engine import ROOT, Json, docker

NAMES: Final = frozenset(name for name, variable in VARIABLES.items() if variable.secret)
# Those that a service reads.
_READ: Final = frozenset().union(*(names for _, names in READERS.values()))
# HAProxy's certificate and its key.
CERTIFICATE: Final = "TLS_CERTIFICATE"
_LABEL: Final = "fingerprint"
# Slow enough that a fingerprint does not help to guess a password.
_ROUNDS: Final = 300_000


def values_of(config: Json) -> dict[str, str]:
    """Return the secrets that .env or a file has (X or X_FILE), without samples.

    Args:
        config: what `docker compose config --format json` prints.

    Raises:
        InvalidValueError: a file cannot be read.
    """
    check = config["services"]["env-check"]
    values = {
        name: value.replace("$$", "$")
        for name, value in check["environment"].items()
        if name in _READ and value and value != VARIABLES[name].sample
    }
    for mount in check["volumes"]:
        name = Path(mount["target"]).name
        if (
            name in _READ
            and mount["target"] == str(MOUNTED / name)
            and mount["source"] != "/dev/null"
        ):
            values[name] = content(Path(mount["source"]))
    if folder := check["environment"].get(CERTIFICATE):
        files = (ROOT / folder / name for name in ("fullchain.pem", "privkey.pem"))
        values[CERTIFICATE] = "\n".join(map(content, files))
    return values


def update(stack: str, values: Mapping[str, str]) -> dict[str, str]:
    """Create a Docker secret of each value that is new.

    Args:
        stack: the stack's name.
        values: by variable.

    Returns:
        The latest secret of each variable.
    """
    known = latest(stack)
    if MIGRATION not in known:
        # Of the stack's own migration user.
        values = {MIGRATION: secrets.token_urlsafe(32), **values}
    for name, value in sorted(values.items()):
        number, fingerprint = known.get(name, (0, ""))
        if fingerprint != _fingerprint(_secret_name(stack, name, number), value):
            secret = _secret_name(stack, name, number + 1)
            label = f"{_LABEL}={_fingerprint(secret, value)}"
            docker("secret", "create", "--label", label, secret, "-", given=value)
            print(f"created the Docker secret {secret}")
            known[name] = (number + 1, "")
    return {name: _secret_name(stack, name, number) for name, (number, _) in known.items()}


def latest(stack: str) -> dict[str, tuple[int, str]]:
    """Return the number and the fingerprint of the latest secret of each variable."""
    known: dict[str, tuple[int, str]] = {}
    row = f'{{{{.Name}}}}\t{{{{.Label "{_LABEL}"}}}}'
    for line in docker("secret", "ls", "--format", row).splitlines():
        secret, _, fingerprint = line.partition("\t")
        name, _, suffix = secret.removeprefix(f"{stack}.").partition(".")
        number = int(suffix) if suffix.isdecimal() else 1
        if name in {*NAMES, CERTIFICATE} and secret == _secret_name(stack, name, number):
            known[name] = max(known.get(name, (0, "")), (number, fingerprint))
    return known


def _secret_name(stack: str, name: str, number: int) -> str:
    return f"{stack}.{name}" + (f".{number}" if number > 1 else "")


def _fingerprint(salt: str, value: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", value.encode(), salt.encode(), _ROUNDS).hex()
