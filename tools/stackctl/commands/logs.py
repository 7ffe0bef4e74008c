"""The containers' logs: every line of one request, or those that compose shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from ..common import process
from ..common.console import Console
from ..common.faults import ExitCode, StackctlError, UsageError
from ..docker import compose, engine, journal
from . import stack

# HAProxy's ids are UUIDs; their beginning is enough.
REQUEST_ID = re.compile(r"[0-9a-fA-F][0-9a-fA-F-]{7,35}")
# A container's log is 30 MB at most (variants/logs/json-file.yaml).
READ_SECONDS = 120.0
TAIL = "200"


@dataclass(frozen=True, order=True, slots=True)
class Line:
    """A line of a container's log, with the time at which the engine received it."""

    time: str
    container: str
    text: str


def of_request(
    console: Console, request: str, since: str, services: Sequence[str]
) -> dict[str, Any]:
    """Print the lines of one request from all logs that are kept, in the order of their times.

    Args:
        console: where they go.
        request: the id, or its first 8 characters or more.
        since: a time or a duration as `docker logs` takes it; empty for all that is kept.
        services: those to read; none for all.

    Raises:
        StackctlError: this is no id, or no line has it.
    """
    if not REQUEST_ID.fullmatch(request):
        raise UsageError(
            f"{request!r} is no request id, such as 6246be24-8f0c-4a55-9a37-1f1b4d2c7e10",
            "It is in the answer's header X-Request-ID (curl -i), and in each log line of the "
            "request; 8 characters are enough.",
        )
    project = stack.load()
    for name in services:
        require_service(project, name)
    read = from_journal if journal.has_logs_of(project) else from_containers
    lines = read(project, request, since, services)
    if not console.as_json:
        width = max(len(line.container) for line in lines)
        for line in lines:
            console.out.print(
                f"{line.time[:23]}Z {line.container:{width}} | {line.text}",
                markup=False,
                soft_wrap=True,
            )
    return {"lines": [asdict(line) for line in lines], "code": int(ExitCode.OK)}


def from_journal(
    project: compose.Project, request: str, since: str, services: Sequence[str]
) -> list[Line]:
    """Return a request's lines from the journal, which has those of removed containers too.

    Raises:
        StackctlError: it has none, or cannot be read.
    """
    lines = sorted(Line(*found) for found in journal.matching(project, request, since, services))
    if not lines:
        raise StackctlError(
            f"no line in the journal has {request}",
            "`journalctl --disk-usage` says how much it keeps, and docs/monitoring.md how to find "
            "an id. What a container wrote before LOG_DRIVER=journald is lost.",
        )
    return lines


def from_containers(
    project: compose.Project, request: str, since: str, services: Sequence[str]
) -> list[Line]:
    """Return a request's lines from the containers that exist.

    Raises:
        StackctlError: they have none, or docker cannot read them.
    """
    containers = [
        container
        for container in engine.containers(project.name)
        if not services or container.service in services
    ]
    lines = sorted(
        line for container in containers for line in matching(project, container, request, since)
    )
    if not lines:
        raise StackctlError(
            f"no line of the {len(containers)} containers has {request}",
            "Docker keeps 30 MB of each container's log, and removes it with the container: a "
            "deploy does that, unless LOG_DRIVER=journald. docs/monitoring.md says how to find an "
            "id.",
        )
    return lines


def matching(
    project: compose.Project, container: engine.Container, request: str, since: str
) -> Iterator[Line]:
    """Yield the lines of a container that have an id, also those in its rotated files.

    Args:
        project: the stack.
        container: the container.
        request: the request's id.
        since: a time (2030-01-01T12:00:00Z) or a duration (10m); empty for all that Docker has.

    Raises:
        StackctlError: docker cannot read the log, or `since` is neither.
    """
    limit = ["--since", since] if since else []
    result = process.run(
        "docker", "logs", "--timestamps", *limit, container.id, seconds=READ_SECONDS
    )
    if not result.ok:
        # A deploy may have removed it by now.
        if "no such container" in result.err.lower():
            return
        raise StackctlError(
            f"docker logs {container.name}: {result.err.strip().splitlines()[-1]}",
            "--since takes a time (2030-01-01T12:00:00Z) or a duration (10m).",
        )
    name = container.name.removeprefix(f"{project.name}-")
    for line in (*result.out.splitlines(), *result.err.splitlines()):
        time, _, text = line.partition(" ")
        if request.lower() in text.lower():
            yield Line(time, name, text)


def follow(services: Sequence[str], since: str, *, live: bool) -> NoReturn:
    """Become `docker compose logs`: the last lines of all services, or of some.

    Raises:
        StackctlError: there is no such service.
    """
    project = stack.load()
    for name in services:
        require_service(project, name)
    limit = ["--since", since] if since else ["--tail", TAIL]
    process.become("docker", "compose", "logs", *limit, *(["--follow"] if live else []), *services)


def require_service(project: compose.Project, name: str) -> None:
    """Check that a service exists.

    Raises:
        UsageError: it does not; the hint has those that do.
    """
    if name not in project.services:
        raise UsageError(
            f"there is no service {name!r}", f"Services: {', '.join(sorted(project.services))}"
        )
