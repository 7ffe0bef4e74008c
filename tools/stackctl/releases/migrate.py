"""Migrations of a release: the gate before them, the one run of them, and what was done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..common import outputs
from ..common.faults import RolledBackError, StackctlError
from ..docker import compose
from ..inside import databases

SCRIPT = Path(__file__).parents[1] / "inside/migrations.py"
COMMAND_SECONDS = 180.0
# As ops/management/commands/migrate_with_lock.py ends and speaks; a test compares.
LOCK_NOT_FREE = 75
MESSAGE_PREFIX = "migrate: "
REASON = "CommandError: "

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """The database's migrations as a release sees them."""

    applied: tuple[str, ...]
    unapplied: tuple[str, ...]
    errors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)


def make_plan(project: compose.Project, image: str, *, lint: bool = False) -> Plan:
    """Ask a release, from its own image, what it would migrate.

    Raises:
        StackctlError: it cannot say, with its last lines.
    """
    mark = outputs.mark()
    script = SCRIPT.read_text(encoding="utf-8")
    command = ("python", "-c", script, "lint" if lint else "state", mark)
    result = project.ask(image, *command, seconds=COMMAND_SECONDS)
    try:
        printed = outputs.marked(result.out, mark)
        return Plan(
            *(outputs.strings(printed["applied"]), outputs.strings(printed["unapplied"])),
            *(_findings(printed, "errors"), _findings(printed, "warnings")),
        )
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        reason = f": {error}" if result.ok else f" (exit code {result.code})"
        raise StackctlError(
            f"the new release cannot list its migrations{reason}; nothing was changed",
            "Is the database up? `./stackctl status`. The image's last lines are above.",
            output="\n".join(result.text().splitlines()[-30:]),
        ) from None


def _findings(printed: Any, kind: str) -> dict[str, tuple[str, ...]]:
    return {name: outputs.strings(texts) for name, texts in printed.get(kind, {}).items()}


def gate(plan: Plan, *, allow_incompatible: bool, warn: Say) -> None:
    """Refuse migrations that the running release is not compatible with, unless allowed.

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
        "the running release is not compatible with these migrations; nothing was changed",
        "\n".join(lines)
        + "\nWhere no remedy is named, make two releases: one that works with both shapes, and then"
        "\none with the migration."
        "\nOr accept errors while it rolls: ./stackctl deploy --allow-incompatible",
    )


def run(project: compose.Project, image: str, before: Plan, say: Say, detail: Say) -> None:
    """Migrate once from the release's image.

    Args:
        project: the stack.
        image: the release's image.
        before: what it was going to migrate.
        say: called with what the person should know at once, such as who holds a lock.
        detail: called with every other line.

    Raises:
        RolledBackError: it failed; the message says what was applied. The servers are as they were.
    """
    lines: list[str] = []

    def line(text: str) -> None:
        lines.append(text)
        (say if text.startswith(MESSAGE_PREFIX) else detail)(text)

    result = project.migrate(image, on_line=line)
    if result.ok:
        return
    why = "a migration failed"
    # Behind `Applying ...`, perhaps, and before an empty line.
    reasons = [words for words in (line.partition(REASON)[2] for line in lines) if words]
    if result.code == LOCK_NOT_FREE and reasons:
        why = f"a migration waited for a lock: {reasons[-1]}"
    raise RolledBackError(
        f"{why}\nThe previous release serves, and no server was changed",
        _applied_summary(project, image, before),
        output="\n".join(lines[-30:]),
    )


def keep_static(project: compose.Project, image: str) -> None:
    """Bring a release's static files to where all servers serve them, before its first server.

    Raises:
        StackctlError: they cannot be brought there.
    """
    result = project.ask(image, "python", "nginx/keep_static.py", seconds=COMMAND_SECONDS)
    if not result.ok:
        raise StackctlError(
            "the release's static files cannot be kept",
            "`docker system df -v` shows the volume `static` and what the engine's disk holds.",
            output="\n".join(result.text().splitlines()[-30:]),
        )


def _applied_summary(project: compose.Project, image: str, before: Plan) -> str:
    try:
        after = make_plan(project, image)
    except StackctlError:
        return "What was applied is unknown: the database does not answer."
    done = [name for name in before.unapplied if name in after.applied]
    lines = [f"Applied, not undone: {', '.join(done) or 'none'}."]
    if after.unapplied:
        lines.append(f"Failed: {after.unapplied[0]}. {_failed_migration_note(project)}")
        if waiting := after.unapplied[1:]:
            lines.append(f"Not tried: {', '.join(waiting)}.")
    return "\n".join(lines)


def _failed_migration_note(project: compose.Project) -> str:
    image = str(project.services.get(compose.DATABASE, {}).get("image", ""))
    server = databases.server_of(image)
    name = server.name if server else "The database"
    if server and server.undoes_changes:
        return f"{name} has rolled it back, unless it sets `atomic = False`."
    return (
        f"{name} cannot roll back a schema change, so its first operations may be applied: "
        "compare it with the database before the next try."
    )
