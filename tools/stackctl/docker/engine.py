"""The Docker engine, its containers and images, through the docker client.

All that ask the engine raise StackctlError where the client cannot be started, or takes too long.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ops.environment.contract import VARIABLES

from ..common import outputs, process
from ..common.faults import StackctlError
from . import container_log

# The load balancer's health checks, one a second and more, in nginx's access log and error log.
PROBES = ('"path":"/readyz', '"GET /readyz')
# Tries for an engine that does not answer, and the pause between two.
TRIES = 3
RETRY_SECONDS = 1.0
INSTALL = "https://docs.docker.com/engine/install/"


@dataclass(frozen=True, slots=True)
class Container:
    """One container, as `docker inspect` describes it."""

    id: str
    name: str
    service: str
    image: str
    running: bool
    status: str
    health: str
    restarts: int
    started: str
    # By network, of a container that runs.
    addresses: dict[str, str]
    config_hash: str
    published: frozenset[int]
    environ: dict[str, str]
    # `no`, `always`, `unless-stopped` or `on-failure`.
    restart_policy: str = "no"
    # How and when it last ended.
    exit_code: int = 0
    finished: str = ""
    out_of_memory: bool = False
    networks: frozenset[str] = frozenset()
    # The last line that its latest health check printed.
    health_output: str = ""

    @property
    def stopped_cleanly(self) -> bool:
        """Return whether an ended container did so by itself, or by the SIGTERM of a stop.

        Programs that do not handle that signal, and Java, end with 143.
        """
        return self.status == "exited" and self.exit_code in (0, 143)

    @property
    def release(self) -> str:
        """Return the release that its image was built as; `unreleased` when it does not say."""
        return self.environ.get("RELEASE") or "unreleased"

    @property
    def request_seconds(self) -> float:
        """Return how many seconds a request may take in it, as when it was created."""
        return self._seconds("SLOW_REQUEST_SECONDS" if self._has_slow_paths else "REQUEST_SECONDS")

    @property
    def stop_seconds(self) -> float:
        """Return how many seconds a stop may take beyond what is the same for all containers.

        That is what follows from variables in the stop_grace_period of a server.
        """
        slow = self._seconds("SLOW_REQUEST_SECONDS") if self._has_slow_paths else 0.0
        return 2 * self._seconds("REQUEST_SECONDS") + slow

    @property
    def _has_slow_paths(self) -> bool:
        return bool(self.environ.get("SLOW_PATHS", "").strip(" ,"))

    def _seconds(self, name: str) -> float:
        return float(self.environ.get(name) or VARIABLES[name].default)


def version_numbers(text: str) -> tuple[int, ...]:
    """Return the numbers at the head of a version: (2, 40, 3) of `v2.40.3-3`."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", text.strip())
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def containers(project: str, *, everything: bool = True) -> list[Container]:
    """Return a compose project's containers, the one-off ones left out.

    Raises:
        StackctlError: the engine does not answer.
    """
    label = "com.docker.compose"
    listing = docker(
        *("ps", "--quiet", "--no-trunc"),
        *(["--all"] if everything else []),
        *("--filter", f"label={label}.project={project}"),
        *("--filter", f"label={label}.oneoff=False"),
    ).split()
    return inspect(*listing) if listing else []


def inspect(*identities: str) -> list[Container]:
    """Return containers by id; those that are gone by now are left out.

    Raises:
        StackctlError: the engine does not answer.
    """
    result = _answer("container", "inspect", *identities)
    with outputs.read("docker container inspect"):
        return [_container(raw) for raw in json.loads(result.out or "[]")]


def one(identity: str) -> Container:
    """Return a container by id.

    Raises:
        StackctlError: it is gone, or the engine does not answer.
    """
    container = inspect(identity)
    if len(container) != 1:
        raise StackctlError(f"the container {identity[:12]} is gone", "`./stackctl status`")
    return container[0]


def _container(raw: dict[str, Any]) -> Container:
    labels = raw["Config"]["Labels"] or {}
    state = raw["State"]
    networks = raw["NetworkSettings"]["Networks"] or {}
    ports = raw["NetworkSettings"].get("Ports") or {}
    return Container(
        id=raw["Id"],
        name=raw["Name"].lstrip("/"),
        service=labels.get("com.docker.compose.service", ""),
        image=raw["Image"],
        running=bool(state["Running"]),
        status=state["Status"],
        health=(state.get("Health") or {}).get("Status", "none"),
        restarts=int(raw.get("RestartCount", 0)),
        started=state["StartedAt"],
        addresses={name: n["IPAddress"] for name, n in networks.items() if n.get("IPAddress")},
        config_hash=labels.get("com.docker.compose.config-hash", ""),
        published=frozenset(
            int(binding["HostPort"]) for bindings in ports.values() for binding in bindings or ()
        ),
        environ=dict(line.partition("=")[::2] for line in raw["Config"]["Env"] or ()),
        restart_policy=raw["HostConfig"]["RestartPolicy"]["Name"] or "no",
        exit_code=int(state["ExitCode"]),
        finished=state["FinishedAt"],
        out_of_memory=bool(state["OOMKilled"]),
        networks=frozenset(networks),
        health_output=_last_line((state.get("Health") or {}).get("Log")),
    )


def _last_line(checks: list[dict[str, Any]] | None) -> str:
    """Return the last line of the latest of a container's health checks."""
    lines = str(checks[-1].get("Output") or "").split("\n") if checks else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]


def holder_of(port: int) -> str:
    """Return the name of the container that publishes a TCP port, if one does."""
    result = process.run(
        "docker", "ps", "--filter", f"publish={port}", "--format", "{{.Names}}", seconds=20
    )
    return result.out.strip().splitlines()[0] if result.ok and result.out.strip() else ""


def exit_code(container: str) -> int:
    """Return how an ended container ended; 0 while it runs.

    Raises:
        StackctlError: there is no such container, or the engine does not answer.
    """
    with outputs.read("docker inspect"):
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", container))


def start(container: str) -> process.Result:
    """Start an ended container as it is."""
    return process.run("docker", "start", container)


def restart(container: str, grace: float | None, seconds: float) -> process.Result:
    """Stop a container and start it again.

    Args:
        container: its id.
        grace: seconds until the stop becomes a kill; None for the container's own.
        seconds: how long all of it may take.
    """
    limit = [] if grace is None else ["-t", f"{grace:.0f}"]
    return process.run("docker", "restart", *limit, container, seconds=seconds)


def stop(*identities: str, seconds: float) -> None:
    """Stop containers gracefully, all at once.

    Args:
        identities: their ids.
        seconds: how long all of them may take.

    Raises:
        StackctlError: the engine could not stop one.
    """
    docker("stop", *identities, seconds=seconds)


def remove(*identities: str) -> None:
    """Remove containers, and kill those that run.

    Raises:
        StackctlError: the engine could not remove one.
    """
    docker("rm", "--force", "--volumes", *identities)


def rename(container: str, name: str) -> None:
    """Give a container another name.

    Raises:
        StackctlError: there is no such container, or the name is in use.
    """
    docker("rename", container, name)


def was_stopped(container: Container) -> bool:
    """Return whether a user stopped an ended container, however it then ended.

    `docker stop` leaves an event of that name, also where it had to kill in the end; `docker kill`
    and a crash leave none. The engine remembers its latest 256 events; a forgotten one counts as
    none.
    https://docs.docker.com/reference/cli/docker/system/events/

    Raises:
        StackctlError: the engine does not answer, which says nothing of the container.
    """
    # Without --until the client waits for more events; `0s` is rounded to the second, too early.
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    events = docker(
        *("events", "--since", container.finished, "--until", now),
        *("--filter", f"container={container.id}", "--filter", "event=stop"),
        *("--format", "{{.Action}}"),
    )
    return "stop" in events.split()


def last_lines(container: str, count: int = 30) -> str:
    """Return a container's last log lines in words, without probes, which bury the reason.

    Of one that ended and was started again they are the lines before its last end.

    Args:
        container: its id.
        count: how many lines.
    """
    ended = process.run(
        *("docker", "inspect", "--format"),
        *("{{if .RestartCount}}{{.State.FinishedAt}}{{end}}", container),
    ).out.strip()
    until = ["--until", ended] if ended else []
    log = process.run("docker", "logs", "--tail", str(20 * count), *until, container).text()
    lines = [line for line in log.splitlines() if not any(probe in line for probe in PROBES)]
    return container_log.readable("\n".join(lines), count)


def execute(
    container: str,
    *command: str,
    stdin: str | None = None,
    seconds: float = process.ANSWER_SECONDS,
) -> process.Result:
    """Run a command in a container, and return its result, whatever it is.

    Args:
        container: its id.
        command: the program and its arguments; never a secret among them.
        stdin: what it reads; nothing by default.
        seconds: how long it may take.
    """
    return process.run("docker", "exec", "-i", container, *command, stdin=stdin, seconds=seconds)


def execute_in_each(containers: Iterable[str], *command: str) -> list[process.Result]:
    """Run a command in several containers at the same time; return the result of each, in order.

    Args:
        containers: their ids.
        command: the program and its arguments; never a secret among them.
    """
    return process.run_all(*(("docker", "exec", "-i", one, *command) for one in containers))


def image_id(name: str) -> str:
    """Return an image's id; empty when there is none of that name.

    Raises:
        StackctlError: the engine does not answer.
    """
    result = _answer("image", "inspect", "--format", "{{.Id}}", name)
    return result.out.strip() if result.ok else ""


def image_release(name: str) -> str:
    """Return the release that an image was built as; `unreleased` when it does not say.

    Raises:
        StackctlError: there is no such image, or the engine does not answer.
    """
    label = docker(
        *("image", "inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", name)
    )
    environ = dict(line.partition("=")[::2] for line in label.splitlines())
    return environ.get("RELEASE") or "unreleased"


def tags(repository: str) -> dict[str, str]:
    """Return the tags of an image's name, each with its image's id, the newest image first.

    Raises:
        StackctlError: the engine does not answer.
    """
    listing = docker(
        *("image", "ls", "--no-trunc", "--format", "{{.Tag}} {{.ID}}", repository),
    )
    with outputs.read("docker image ls"):
        pairs = [line.split() for line in listing.splitlines()]
        return {tag: identity for tag, identity in pairs if tag != "<none>"}


def tag(image: str, name: str) -> None:
    """Give an image a further name; one that has it loses it.

    Raises:
        StackctlError: there is no such image, or the engine does not answer.
    """
    docker("image", "tag", image, name)


def untag(name: str) -> bool:
    """Remove a name of an image, and the image with its last name; false when it is in use."""
    return process.run("docker", "image", "rm", name).ok


def docker(*arguments: str, seconds: float = process.ANSWER_SECONDS) -> str:
    """Run the docker client and return what it printed.

    Args:
        arguments: the client's.
        seconds: how long it may take.

    Raises:
        StackctlError: it failed; its own words are the message.
    """
    result = process.run("docker", *arguments, seconds=seconds)
    if not result.ok:
        raise _failed(arguments, result)
    return result.out


def _answer(*arguments: str) -> process.Result:
    """Ask about objects by name, again after a pause where the engine did not answer.

    A result that is not ok says then that an object does not exist, and nothing else.

    Raises:
        StackctlError: it did not answer several times.
    """
    for tries_left in reversed(range(TRIES)):
        result = process.run("docker", *arguments)
        errors = [line for line in result.err.splitlines() if "no such" not in line.lower()]
        if result.ok or (result.err and not errors):
            return result
        if tries_left:
            time.sleep(RETRY_SECONDS)
    raise _failed(arguments, result)


def _failed(arguments: tuple[str, ...], result: process.Result) -> StackctlError:
    words = result.err.strip() or result.out.strip() or f"exit code {result.code}"
    return StackctlError(
        f"docker {' '.join(arguments[:2])}: {words}",
        "`./stackctl doctor` shows what is wrong here.",
    )
