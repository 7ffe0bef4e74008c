"""The checks of a new server: by the engine, in its container, and through HAProxy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..balancer import haproxy
from ..checks import state
from ..checks.answers import HEALTH, down, get, problem
from ..common import outputs
from ..common.console import Console
from ..common.outputs import fields
from ..docker import compose, container_log, engine
from .surge import POLL_SECONDS

ASK = Path(__file__).parents[1] / "inside/ask.py"
# Each answer of a server's own, which inside/ask.py waits for as long; and a while for Docker.
ASK_SECONDS = 25.0
# HAProxy finds a new address and sees two good checks, one a second.
SEEN_SECONDS = 30.0
READY_SECONDS = 10.0
# What --health-seconds and --watch-seconds are when not said.
HEALTH_SECONDS = 120.0
WATCH_SECONDS = 2.0
# A release that answers more than this share of requests with an error, and more than a stray one.
BAD_SHARE = 0.1
BAD_COUNT = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """How a server is replaced: how long it may take and is watched, in seconds, and where."""

    health: float = HEALTH_SECONDS
    watch: float = WATCH_SECONDS
    # Replace each server in place, also where a new one could start next to it.
    in_place: bool = False


class ServerFailedError(Exception):
    """A server did not come up with the new image, or answers wrongly with it."""

    def __init__(self, server: str, reason: str, log: str = "") -> None:
        """Keep what is shown to the person."""
        super().__init__(reason)
        self.server = server
        self.reason = reason
        self.log = log


@dataclass
class ServerChecks:
    """What a new server has to pass.

    Each check raises ServerFailedError when the server fails it, and StackctlError when HAProxy or
    the engine does not answer, or HAProxy does not know the server.
    """

    project: compose.Project
    balancer: haproxy.Balancer
    console: Console
    limits: Limits
    # What /healthz called down before: no fault of the new release, which may fix it.
    ailing: frozenset[str] = frozenset()

    def wait_healthy(self, service: str, container: str) -> None:
        """Wait until a new container's health check is good."""
        deadline = time.monotonic() + self.limits.health
        while True:
            state = engine.inspect(container)
            seen = state[0] if state else None
            if seen is None:
                raise failed(service, container, "its container is gone")
            if seen.restarts or seen.status in ("exited", "dead", "restarting"):
                raise failed(service, container, "its container ended by itself")
            if seen.running and seen.health in ("healthy", "none"):
                return
            if seen.health == "unhealthy":
                raise failed(service, container, "it is unhealthy")
            if time.monotonic() > deadline:
                reason = f"it was not healthy within {self.limits.health:g} s"
                raise failed(service, container, reason)
            time.sleep(POLL_SECONDS)

    def wait_seen(self, server: str, container: str) -> None:
        """Wait until HAProxy has the new container's address and its checks are good."""
        state = engine.inspect(container)
        if not state:
            raise failed(server, container, "its container is gone")
        addresses = state[0].addresses.values()
        deadline = time.monotonic() + SEEN_SECONDS
        while True:
            seen = self.seen(server)
            is_current = seen.address in addresses
            if is_current and seen.status in ("DRAIN", "UP") and seen.check.startswith("L7OK"):
                return
            if time.monotonic() > deadline:
                raise failed(
                    server,
                    container,
                    f"HAProxy does not see it up within {SEEN_SECONDS:g} s: {seen.status}, "
                    f"{seen.check}, at {seen.address or 'no address'}",
                )
            time.sleep(POLL_SECONDS)

    def note_ailing(self, containers: Mapping[str, engine.Container]) -> None:
        """Note the components that are down now, as the first server that runs reports them."""
        for server in self.project.servers:
            if server in containers and containers[server].running:
                answers = self._asked(containers[server].id, (HEALTH,))
                ailing = down(str(answers[0]["body"])) if answers else {}
                for name, error in ailing.items():
                    self.console.warn(f"{name} is down already: {error}")
                self.ailing = frozenset(ailing)
                return

    def check_itself(
        self, server: str, container: str, release: str, paths: tuple[str, ...]
    ) -> None:
        """Ask the server itself, around the load balancer.

        A component that is down is checked again: a machine that starts the other servers may be
        too busy for the seconds that /healthz waits.
        """
        for tries_left in reversed(range(engine.TRIES)):
            answers = self._asked(container, paths)
            if len(answers) != len(paths):
                raise failed(
                    server, container, "its pages cannot be requested from inside its container"
                )
            faults = {
                path: fault
                for path, answer in zip(paths, answers, strict=True)
                if (fault := problem(path, answer, release, self.ailing))
            }
            if not faults:
                return
            if faults.keys() != {HEALTH} or not tries_left:
                raise failed(server, container, next(iter(faults.values())))
            time.sleep(engine.RETRY_SECONDS)

    def _asked(self, container: str, paths: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return a server's own responses, in order; none where it cannot be reached."""
        script, mark = ASK.read_text(encoding="utf-8"), outputs.mark()
        result = engine.execute(
            *(container, "python3", "-", mark, self._host(), *paths),
            stdin=script,
            seconds=(len(paths) + 1) * ASK_SECONDS,
        )
        try:
            answers = outputs.marked(result.out, mark)
            return [{"status": int(one["status"]), "body": str(one["body"])} for one in answers]
        except (ValueError, TypeError, KeyError):
            self.console.detail(result.text()[-500:])
            return []

    def check_through_balancer(self, containers: dict[str, str], release: str) -> None:
        """See servers in service, answering with the new release, and without errors for a while.

        Args:
            containers: the container's id of each.
            release: the one that they run.
        """
        first = {name: self._wait_up(name, container) for name, container in containers.items()}
        until = time.monotonic() + self.limits.watch
        for server, container in containers.items():
            self._wait_answer(server, container, release)
        while time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        for server, container in containers.items():
            seen = self.seen(server)
            if not seen.up:
                reason = f"HAProxy removed it from service again: {seen.status}"
                raise failed(server, container, reason)
            errors = seen.errors - first[server].errors
            answers = seen.answers - first[server].answers
            if errors >= BAD_COUNT and errors > BAD_SHARE * answers:
                reason = f"{errors} of its first {answers} answers were errors (5xx)"
                raise failed(server, container, reason)

    def _wait_up(self, server: str, container: str) -> haproxy.BalancedServer:
        deadline = time.monotonic() + READY_SECONDS
        while not (seen := self.seen(server)).up:
            if time.monotonic() > deadline:
                reason = f"HAProxy does not put it into service: {seen.status}"
                raise failed(server, container, reason)
            time.sleep(POLL_SECONDS)
        return seen

    def _wait_answer(self, server: str, container: str, release: str) -> None:
        """Ask the site until this server answers.

        One answer will do where /profile/ hides who, and where HAProxy sends this machine, as each
        visitor, to one and the same server.
        """
        sticky = self.project.environment(compose.BALANCER).get("HAPROXY_BALANCE") == "source"
        site = self.project.site()
        profile = self.project.environment(server).get("PROFILE")
        deadline = time.monotonic() + READY_SECONDS
        status = 0
        while time.monotonic() < deadline:
            status, body = get(site, self._host())
            shown = fields(body)
            if status in range(300, 400) or (
                status == 200 and not {"server", "release"} <= set(shown)
            ):
                return
            if sticky and status == 200 and shown.get("server") != profile:
                return
            if status == 200 and shown.get("server") == profile:
                if shown["release"] == release:
                    return
                reason = f"through HAProxy it answers as release {shown['release']}"
                raise failed(server, container, reason)
            time.sleep(0.05)
        reason = f"it does not answer through HAProxy (last: {status or 'no answer'})"
        raise failed(server, container, reason)

    def _host(self) -> str:
        """Return a name that the application answers to."""
        allowed = self.project.environment(self.project.servers[0]).get("DJANGO_ALLOWED_HOSTS", "")
        first = allowed.split(",")[0].strip()
        return "localhost" if first in ("", "*") else first.lstrip(".")

    def seen(self, server: str) -> haproxy.BalancedServer:
        """Return a server as HAProxy sees it now."""
        seen = self.balancer.servers().get(server)
        if seen is None:
            raise state.unknown_server(server)
        return seen


def failed(server: str, container: str, reason: str) -> ServerFailedError:
    """Return the fault of a server, with the last lines of its container's log."""
    log = engine.last_lines(container)
    exception = container_log.raised(log)
    return ServerFailedError(server, f"{reason}: {exception}" if exception else reason, log)
