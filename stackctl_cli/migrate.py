"""Migrations of a release: the gate before them, the one run of them, and what was done."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import compose, databases
from .faults import RolledBackError, StackctlError

SCRIPT = Path(__file__).with_name("inside") / "migrations.py"
LOOK_SECONDS = 180.0

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """The database's migrations as a release sees them."""

    applied: tuple[str, ...]
    unapplied: tuple[str, ...]
    errors: dict[str, list[str]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)


def look(project: compose.Project, image: str, *, lint: bool = False) -> Plan:
    """Ask a release, from its own image, what it would migrate.

    Raises:
        StackctlError: it cannot say, with its last lines.
    """
    lines: list[str] = []
    command = ("python", "-c", SCRIPT.read_text(encoding="utf-8"), "lint" if lint else "state")
    result = project.run_once(image, *command, on_line=lines.append, seconds=LOOK_SECONDS)
    found = _last_json(lines) if result.ok else None
    if found is None:
        raise StackctlError(
            "the new release cannot look at the database's migrations; nothing was changed",
            "Is the database up? `./stackctl status`. The image's last lines are above.",
            output="\n".join(lines[-30:]),
        )
    return Plan(
        tuple(found["applied"]),
        tuple(found["unapplied"]),
        found.get("errors", {}),
        found.get("warnings", {}),
    )


def gate(plan: Plan, *, allow_incompatible: bool, warn: Say) -> None:
    """Refuse migrations that the running release cannot live with, unless told.

    Raises:
        StackctlError: there is such a one; each is named with what is wrong with it.
    """
    for migration, findings in plan.warnings.items():
        warn(f"migration {migration}: {'; '.join(findings)}")
    # A database without any migration has no release that lives on it.
    if not plan.errors or not plan.applied:
        return
    lines = [f"{name}: {'; '.join(findings)}" for name, findings in plan.errors.items()]
    if allow_incompatible:
        for line in lines:
            warn(f"incompatible, but allowed: {line}")
        return
    raise StackctlError(
        "the running release cannot live with these migrations; nothing was changed",
        "\n".join(lines)
        + "\nSplit the change: first a release that works with both shapes, then, in a later one,"
        "\nthe migration. Or accept errors while it rolls: ./stackctl deploy --allow-incompatible",
    )


def run(project: compose.Project, image: str, before: Plan, detail: Say) -> None:
    """Migrate once from the release's image.

    Raises:
        RolledBackError: it failed; the message says what was applied. The servers are as they were.
    """
    lines: list[str] = []

    def line(text: str) -> None:
        lines.append(text)
        detail(text)

    result = project.run_once(image, on_line=line)
    if result.ok:
        return
    raise RolledBackError(
        "a migration failed; the release before serves, and no server was touched",
        _what_was_applied(project, image, before),
        output="\n".join(lines[-30:]),
    )


def _what_was_applied(project: compose.Project, image: str, before: Plan) -> str:
    try:
        after = look(project, image)
    except StackctlError:
        return "What was applied cannot be told: the database does not answer."
    done = [name for name in before.unapplied if name in after.applied]
    lines = [f"Applied, and they stay: {', '.join(done) or 'none'}."]
    if after.unapplied:
        lines.append(f"Failed: {after.unapplied[0]}. {_what_stays_of_it(project)}")
        if waiting := after.unapplied[1:]:
            lines.append(f"Not tried: {', '.join(waiting)}.")
    return "\n".join(lines)


def _what_stays_of_it(project: compose.Project) -> str:
    image = str(project.services.get(compose.DATABASE, {}).get("image", ""))
    if databases.server_of(image) is databases.POSTGRESQL:
        return "PostgreSQL has undone all of it, unless it says `atomic = False`."
    return (
        "MySQL cannot undo a change of a table, so its first operations may be done: compare it "
        "with the database before the next try."
    )


def _last_json(lines: list[str]) -> dict[str, Any] | None:
    for text in reversed(lines):
        if text.startswith("{"):
            try:
                found: dict[str, Any] = json.loads(text)
            except ValueError:
                continue
            return found
    return None
