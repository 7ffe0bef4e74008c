"""Copies secrets from files of the host to the containers that need them.

Often only its owner can read a file of the host, and no container's user is that one. Compose's
service env-check mounts each file that a variable X_FILE names, and reads it as root. Each reader
has a volume with its copies, which only its user can read.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from .contract import MIGRATE_ONLY, VARIABLES
from .files import MOUNTED, content, is_mounted
from .variable import Scope

# The volumes, by the service that reads one; `application` is the servers' and workers'.
VOLUMES: Final = Path("/srv/secrets")

_APPLICATION: Final = frozenset(
    name
    for name, variable in VARIABLES.items()
    if variable.secret and variable.scope is Scope.DJANGO
)
# The password of the stack's own migration user: random, unless the environment has another.
MIGRATION: Final = "DB_MIGRATION_PASSWORD"
# Of the user `exporter` in the database and in Redis, for MONITORING: random.
EXPORTER: Final = "EXPORTER_PASSWORD"
# Printed before the names of those that changed, so that stackctl recreates the servers.
CHANGED: Final = "The application's secrets in files, changed: "
# Each reader's user, and its secrets.
READERS: Final = {
    # Before the others that get the same passwords.
    "db": (999, frozenset({"DB_PASSWORD", MIGRATION, EXPORTER})),
    "application": (10001, _APPLICATION.difference(MIGRATE_ONLY)),
    "migrate": (10001, _APPLICATION),
    "redis": (999, frozenset({"REDIS_PASSWORD", EXPORTER})),
    "exporter": (65534, frozenset({EXPORTER})),
    "alertmanager": (65534, frozenset({"ALERTMANAGER_CONFIG"})),
    "broker": (999, frozenset({"BROKER_PASSWORD"})),
    "haproxy": (99, frozenset({"STATS_PASSWORD"})),
}


def main() -> None:
    """Copy what is in files, and remove what no longer is."""
    changed: dict[str, set[str]] = {"application": set()}
    for reader, (user, names) in READERS.items():
        folder = VOLUMES / reader
        # Only Compose's service env-check has them.
        if folder.is_dir():
            changed[reader] = {
                name for name in names if _copy(_text(name, reader), folder / name, user)
            }
    if changed["application"]:
        print(CHANGED + ", ".join(sorted(changed["application"])))


def _text(name: str, reader: str) -> str | None:
    """Return what a reader gets for a secret; None where it gets no file."""
    if name == EXPORTER:
        return _random(name)
    if is_mounted(VARIABLES[name]):
        return content(MOUNTED / name)
    if name != MIGRATION:
        return None
    if given := os.environ.get(name):
        # Migrate has the variable itself.
        return given if reader == "db" else None
    return _random(name)


def _random(name: str) -> str:
    """Return the password that the database has already, or a new one."""
    kept = VOLUMES / "db" / name
    return content(kept) if kept.exists() else secrets.token_urlsafe(32)


def _copy(text: str | None, target: Path, user: int) -> bool:
    """Copy one, and return whether it changed."""
    before = target.read_text(encoding="utf-8") if target.exists() else None
    if text is None:
        target.unlink(missing_ok=True)
        return before is not None
    if text == before:
        return False
    new = target.with_name(f"{target.name}.new")
    new.unlink(missing_ok=True)
    new.touch(0o600, exist_ok=False)
    new.write_text(text, encoding="utf-8")
    new.chmod(0o400)
    os.chown(new, user, user)
    # Whole or as it was: a reader may start at any moment.
    new.replace(target)
    return True


if __name__ == "__main__":
    main()
