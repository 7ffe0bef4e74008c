"""What the commands status, releases and version print."""

from __future__ import annotations

import time
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ops import VERSION

from .checks import parts, state
from .checks.check import Check
from .commands import stack
from .common.console import Console
from .common.faults import ExitCode
from .docker import engine, lock
from .releases import record, release


def status(console: Console, watch: bool, seconds: float) -> dict[str, Any]:
    """Print each part of the stack.

    Args:
        console: where it is printed.
        watch: whether to repeat until Ctrl-C.
        seconds: between two checks, with `watch`.

    Raises:
        StackctlError: the project cannot be read, or the engine does not answer.
    """
    project = stack.load()
    if watch and not console.as_json and console.out.is_terminal:
        with Live(console=console.out, auto_refresh=False, screen=False) as live:
            while True:
                seen = state.glance(project)
                live.update(shown(seen, parts.examine(seen)), refresh=True)
                time.sleep(seconds)
    if watch:
        return watch_lines(console, project, seconds)
    seen = state.glance(project)
    checks = parts.examine(seen)
    if not console.as_json:
        console.out.print(shown(seen, checks))
    return _status_result(seen, checks)


def watch_lines(console: Console, project: Any, seconds: float) -> dict[str, Any]:
    """Print a line, or a JSON object, for each check, until Ctrl-C.

    Args:
        console: where it is printed.
        project: the stack.
        seconds: between two checks.

    Raises:
        StackctlError: the engine does not answer.
    """
    while True:
        seen = state.glance(project)
        checks = parts.examine(seen)
        if console.as_json:
            console.result(_status_result(seen, checks))
        else:
            words = [f"{s.name} {s.state} {_release(s)}" for s in seen.servers.values()]
            problems = [f"{check.name}: {check.problem}" for check in checks if not check.ok]
            line = f"{lock.now()} {', '.join(words)}{''.join(f'; {text}' for text in problems)}"
            console.out.print(line, markup=False, soft_wrap=True)
        time.sleep(seconds)


def _status_result(seen: state.StackStatus, checks: list[Check]) -> dict[str, Any]:
    whole = bool(seen.containers) and all(check.ok for check in checks)
    return {
        **seen.as_dict(),
        "parts": [check.as_dict() for check in checks],
        "busy": lock.holder(seen.project),
        "code": int(ExitCode.OK if whole else ExitCode.REFUSED),
    }


_STYLES = {
    state.ServerState.READY: "green",
    state.ServerState.FAILED: "red",
    state.ServerState.STOPPED: "red",
}


def shown(seen: state.StackStatus, checks: list[Check]) -> RenderableType:
    """Return all parts as a table, and below it what is wrong, each with its next step."""
    if not seen.containers:
        return f"{seen.project.name} is not started: ./stackctl up"
    lines = [escape(lock.holder(seen.project))]
    for check in checks:
        if not check.ok:
            lines.append(f"[red]{check.name}[/]: {escape(check.problem)}")
            lines += [f"    {escape(line)}" for line in check.hint.splitlines()]
    text = (Text.from_markup(line, overflow="fold") for line in lines if line)
    return Group(_table(seen, checks), *text)


def _table(seen: state.StackStatus, checks: list[Check]) -> Table:
    title = f"{seen.project.name} ({seen.project.layer})"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in ("service", "state", "release", "health", "HAProxy", "sessions", "since"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        table.add_row(*_row(check, seen))
    return table


def _row(check: Check, seen: state.StackStatus) -> tuple[str, ...]:
    container = seen.containers.get(check.name)
    since = container.started[:19] + "Z" if container else "-"
    health = container.health if container else "-"
    server = seen.servers.get(check.name)
    if server is None:
        word = container.status if container else "-" if check.ok else "missing"
        if check.ok and check.name in parts.ONE_SHOTS and word == "exited":
            word, health = "done", "-"
        style = "none" if check.ok else "red"
        return (check.name, f"[{style}]{word}[/]", "", health, "", "", since)
    balancer = server.balancer
    return (
        *(server.name, f"[{_STYLES.get(server.state, 'yellow')}]{server.state}[/]"),
        *(escape(_release(server)), health),
        balancer.status if balancer else "not known" if seen.silent else "-",
        *(str(balancer.sessions) if balancer else "-", since),
    )


def _release(server: state.ServerStatus) -> str:
    return server.container.release if server.container else "-"


def version(console: Console) -> dict[str, Any]:
    """Print the version of the stack."""
    if not console.as_json:
        console.out.print(VERSION)
    return {"version": VERSION}


def releases(console: Console) -> dict[str, Any]:
    """Print the record of releases, the latest first.

    Raises:
        StackctlError: the project cannot be read, or the engine does not answer.
    """
    project = stack.load()
    entries = list(reversed(record.read(project)))
    images = release.available(project)
    containers = engine.containers(project.name)
    running = {c.release for c in containers if c.service in project.servers}
    if not console.as_json:
        table = Table(box=SIMPLE_HEAD)
        for heading in ("time", "action", "release", "result", "seconds", "who", "image"):
            table.add_column(heading, overflow="fold")
        for entry in entries:
            kept = "kept" if entry.release in images else "gone"
            table.add_row(
                *(entry.time, entry.action, entry.release, entry.outcome),
                *(f"{entry.seconds:.1f}", entry.who),
                "running" if entry.release in running else kept,
            )
        console.out.print(table)
    return {
        "project": project.name,
        "running": sorted(running),
        "releases": [
            {**_fields(entry), "image_kept": entry.release in images} for entry in entries
        ],
    }


def _fields(entry: record.Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}
