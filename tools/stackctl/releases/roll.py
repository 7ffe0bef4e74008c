"""All servers to another image without a failed request, and back when that fails."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..balancer import haproxy
from ..checks import state
from ..checks.answers import HEALTH, SERVES, WHOLE, down, get, wrong
from ..common import outputs
from ..common.console import Console
from ..common.faults import StackctlError
from ..common.interrupt import Interrupt
from ..common.outputs import fields
from ..docker import compose, container_log, engine
from .surge import MARK_DRAINED, POLL_SECONDS, Surge, longest_request, reason_in_place, settle

ASK = Path(__file__).parents[1] / "inside/ask.py"
QUIET_POLLS = 3
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
class Roll:
    """The move of all servers to one image."""

    project: compose.Project
    balancer: haproxy.Balancer
    console: Console
    interrupt: Interrupt
    limits: Limits
    # What ran in each service before it was touched, by service.
    before: dict[str, str] = field(default_factory=dict)
    # What compose starts before anything is touched: the rollback of a service without a container.
    present: str = ""
    # What /healthz called down before: no fault of the new release, which may fix it.
    ailing: frozenset[str] = frozenset()
    # The servers that were started next to others.
    surge: Surge | None = None

    def all(self, image: str, release: str, *, force: bool = False) -> bool:
        """Bring every server, then every worker, to the image; false when interrupted between two.

        One that runs it already, with the present configuration, is left alone unless `force`. A
        server that is out of service is recreated first: the others serve meanwhile.

        Raises:
            ServerFailedError: one failed; back() undoes it and what came before.
        """
        finished = self._all(image, release, force=force)
        if self.surge is not None:
            self._remove_former()
        return finished

    def _all(self, image: str, release: str, *, force: bool) -> bool:
        self.present = engine.image_id(self.project.latest)
        self.ailing = self._down_components()
        containers = self.project.containers()
        running = {name for name, container in containers.items() if container.running}
        out = [s for s in self.project.servers if s not in running or not self._seen(s).up]
        for server in out:
            self.server(server, image, release)
        others = [
            server
            for server in self.project.servers
            if server not in out and self._is_due(server, image, release, force=force)
        ]
        if others and not self._replace(others, image, release):
            return False
        for service in self.project.workers:
            if self.interrupt.requested:
                return False
            if self._is_due(service, image, release, force=force):
                self.worker(service, image)
        engine.tag(image, self.project.latest)
        return True

    def _is_due(self, service: str, image: str, release: str, *, force: bool) -> bool:
        if not force and self.project.runs(service, image):
            self.console.say(f"{service}: runs {release} already")
            return False
        return True

    def _replace(self, servers: list[str], image: str, release: str) -> bool:
        """Replace servers that are in service; false when interrupted before all were."""
        reason = "" if self.limits.in_place else reason_in_place(self.project)
        if not self.limits.in_place and not reason:
            return self._surge(servers, image, release)
        if reason:
            self.console.say(f"each server is drained and recreated in place: {reason}")
        return all(
            not self.interrupt.requested and self.server(server, image, release, interruptible=True)
            for server in servers
        )

    def _surge(self, servers: list[str], image: str, release: str) -> bool:
        """Start all servers next to the present ones, and have HAProxy send the requests there.

        The first one is watched before the others follow.
        """
        surge = self.surge = Surge(self.project, self.balancer)
        names = ", ".join(servers)
        with self.console.step(f"{names}: starting {release} next to the running release"):
            engine.tag(image, self.project.latest)
            if error := surge.start(servers):
                raise ServerFailedError(servers[0], "compose could not start it", error)
            for server, container in surge.new.items():
                _require_image(server, container, image)
            for server, container in surge.new.items():
                self._wait_healthy(server, container.id)
        with self.console.step(f"{names}: checking {release}"):
            for server, container in surge.new.items():
                self._check_itself(server, container.id, release, WHOLE * 2)
        for group in filter(None, (servers[:1], servers[1:])):
            if self.interrupt.requested:
                return False
            with self.console.step(f"{', '.join(group)}: requests go to {release}"):
                for server in group:
                    surge.move(server)
                self._check_through_balancer({one: surge.new[one].id for one in group}, release)
        return True

    def _remove_former(self) -> None:
        """Remove the containers that serve no more; a release that serves has not failed by one."""
        self.surge = None
        with self.console.step("removing the former containers"):
            for tries_left in reversed(range(engine.TRIES)):
                try:
                    settle(self.project, self.balancer)
                    return
                except Exception as error:
                    left = f"a former container is left: {error}; the next deploy removes it"
                    if not tries_left:
                        self.console.warn(left)
                time.sleep(engine.AGAIN_SECONDS)

    def back(self) -> None:
        """Put what was touched back on the image it had, the last one first.

        Each is tried, whatever became of the others; no server is left drained. An interrupt does
        not stop it: a user who interrupts wants what ran before.

        Raises:
            ServerFailedError, StackctlError: the rollback failed too; the first fault.
        """
        # An impatient limit is meant for the new release; giving up on the old one has no use.
        self.limits = replace(self.limits, health=max(self.limits.health, HEALTH_SECONDS))
        failed: list[ServerFailedError | StackctlError] = []
        failed += self._surge_back()
        for service, image in reversed(list(self.before.items())):
            try:
                self._service_back(service, image)
            except (ServerFailedError, StackctlError) as error:
                failed.append(error)
                self.console.bad(f"{service}: {error}")
                # Before the next one is drained.
                failed += self._in_service(service)
        for server in self.project.servers:
            failed += self._in_service(server)
        if failed:
            raise failed[0]

    def _surge_back(self) -> list[StackctlError]:
        """Have the containers that served before serve again; return what was in the way."""
        if self.surge is None:
            return []
        for server in reversed(self.surge.moved):
            self.console.say(f"{server}: back to {self.surge.old[server].release}")
        failed = self.surge.move_back()
        try:
            self.surge.remove_new()
            if not failed:
                settle(self.project, self.balancer)
        except StackctlError as error:
            failed.append(error)
        for fault in failed:
            self.console.bad(str(fault))
        return failed

    def _in_service(self, service: str) -> list[StackctlError]:
        """Have HAProxy send requests to a server, as well as it is; return what was in the way."""
        if service in self.project.servers:
            try:
                self.balancer.ready(service)
            except StackctlError as error:
                self.console.bad(f"{service}: {error}")
                return [error]
        return []

    def _service_back(self, service: str, image: str) -> None:
        release = engine.image_release(image)
        self.console.say(f"{service}: back to {release}")
        if service in self.project.servers:
            self.server(service, image, release, back=True)
        else:
            self.worker(service, image, remember=False)

    def server(
        self,
        server: str,
        image: str,
        release: str,
        *,
        back: bool = False,
        interruptible: bool = False,
    ) -> bool:
        """Bring one server to the image; false when it was given back untouched.

        One that goes `back` has to serve; only a new release must have all components up.
        """
        with self.console.step(f"{server}: draining"):
            drained = self.drain(server, interruptible=interruptible)
            if drained:
                self._spare_second_drain(server)
        if not drained:
            self.balancer.ready(server)
            return False
        if not back:
            self._remember(server)
        with self.console.step(f"{server}: starting {release}"):
            container = self._recreate(server, image)
            self._wait_healthy(server, container)
            self._wait_seen(server, container)
        with self.console.step(f"{server}: checking {release}"):
            self._check_itself(server, container, release, SERVES if back else WHOLE * 2)
            self.balancer.ready(server)
            self._check_through_balancer({server: container}, release)
        return True

    def drain(self, server: str, *, interruptible: bool = True) -> bool:
        """Take a server out of service and wait for its requests to end; false when interrupted."""
        container = self.project.containers().get(server)
        seconds = longest_request(container) if container else 0.0
        deadline = time.monotonic() + seconds
        quiet = 0
        self.balancer.drain(server)
        while quiet < QUIET_POLLS:
            if interruptible and self.interrupt.requested:
                return False
            seen = self._seen(server)
            if seen.up:
                # A reload of HAProxy has forgotten it.
                self.balancer.drain(server)
            busy = seen.up or self._busy(seen)
            quiet = 0 if busy else quiet + 1
            if time.monotonic() > deadline:
                self.console.warn(
                    f"{server}: {self._busy(seen)} requests still run after {seconds:g} s; "
                    "its graceful stop has to end them"
                )
                break
            time.sleep(POLL_SECONDS)
        return True

    def _busy(self, seen: haproxy.BalancedServer) -> int:
        """Return how many requests a server has or is about to get."""
        return seen.sessions + seen.queued + self.balancer.busy_elsewhere(seen.name)

    def _spare_second_drain(self, server: str) -> None:
        """Let a server skip its own drain, because the load balancer sends it nothing already.

        A container that cannot be reached, or has requests left, waits as it does at any stop.
        """
        seen = self._seen(server)
        container = self.project.containers().get(server)
        if container is not None and seen.drained_by_hand and not self._busy(seen):
            engine.execute(container.id, "sh", "-c", MARK_DRAINED)

    def worker(self, service: str, image: str, *, remember: bool = True) -> None:
        """Bring a service that answers no requests to the image."""
        if remember:
            self._remember(service)
        with self.console.step(f"{service}: starting"):
            self._wait_healthy(service, self._recreate(service, image))

    def _remember(self, service: str) -> None:
        container = self.project.containers().get(service)
        image = container.image if container else self.present
        if image:
            self.before.setdefault(service, image)

    def _recreate(self, service: str, image: str) -> str:
        """Recreate the service's container and return its id."""
        engine.tag(image, self.project.latest)
        result = self.project.recreate(service)
        container = self.project.containers().get(service)
        if not result.ok or container is None:
            raise ServerFailedError(service, "compose could not start it", result.text())
        _require_image(service, container, image)
        return container.id

    def _wait_healthy(self, service: str, container: str) -> None:
        deadline = time.monotonic() + self.limits.health
        while True:
            state = engine.inspect(container)
            seen = state[0] if state else None
            if seen is None:
                raise self._failed(service, container, "its container is gone")
            if seen.restarts or seen.status in ("exited", "dead", "restarting"):
                raise self._failed(service, container, "its container ended by itself")
            if seen.running and seen.health in ("healthy", "none"):
                return
            if seen.health == "unhealthy":
                raise self._failed(service, container, "it is unhealthy")
            if time.monotonic() > deadline:
                reason = f"it was not healthy within {self.limits.health:g} s"
                raise self._failed(service, container, reason)
            time.sleep(POLL_SECONDS)

    def _wait_seen(self, server: str, container: str) -> None:
        """Wait until HAProxy has found the new container and its checks are good."""
        state = engine.inspect(container)
        if not state:
            raise self._failed(server, container, "its container is gone")
        addresses = state[0].addresses.values()
        deadline = time.monotonic() + SEEN_SECONDS
        while True:
            seen = self._seen(server)
            is_current = seen.address in addresses
            if is_current and seen.status in ("DRAIN", "UP") and seen.check.startswith("L7OK"):
                return
            if time.monotonic() > deadline:
                raise self._failed(
                    server,
                    container,
                    f"HAProxy does not see it up within {SEEN_SECONDS:g} s: {seen.status}, "
                    f"{seen.check}, at {seen.address or 'no address'}",
                )
            time.sleep(POLL_SECONDS)

    def _down_components(self) -> frozenset[str]:
        """Return the components that are down now, as the first server that runs reports them."""
        containers = self.project.containers()
        for server in self.project.servers:
            if server in containers and containers[server].running:
                answers = self._asked(containers[server].id, (HEALTH,))
                ailing = down(str(answers[0]["body"])) if answers else {}
                for name, error in ailing.items():
                    self.console.warn(f"{name} is down already: {error}")
                return frozenset(ailing)
        return frozenset()

    def _check_itself(
        self, server: str, container: str, release: str, paths: tuple[str, ...]
    ) -> None:
        """Ask the server itself, around the load balancer."""
        answers = self._asked(container, paths)
        if len(answers) != len(paths):
            raise self._failed(
                server, container, "its pages cannot be requested from inside its container"
            )
        for path, answer in zip(paths, answers, strict=True):
            if fault := wrong(path, answer, release, self.ailing):
                raise self._failed(server, container, fault)

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

    def _check_through_balancer(self, containers: dict[str, str], release: str) -> None:
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
            seen = self._seen(server)
            if not seen.up:
                reason = f"HAProxy removed it from service again: {seen.status}"
                raise self._failed(server, container, reason)
            errors = seen.errors - first[server].errors
            answers = seen.answers - first[server].answers
            if errors >= BAD_COUNT and errors > BAD_SHARE * answers:
                reason = f"{errors} of its first {answers} answers were errors (5xx)"
                raise self._failed(server, container, reason)

    def _wait_up(self, server: str, container: str) -> haproxy.BalancedServer:
        deadline = time.monotonic() + READY_SECONDS
        while not (seen := self._seen(server)).up:
            if time.monotonic() > deadline:
                reason = f"HAProxy does not put it into service: {seen.status}"
                raise self._failed(server, container, reason)
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
                raise self._failed(server, container, reason)
            time.sleep(0.05)
        reason = f"it does not answer through HAProxy (last: {status or 'no answer'})"
        raise self._failed(server, container, reason)

    def _host(self) -> str:
        """Return a name that the application answers to."""
        allowed = self.project.environment(self.project.servers[0]).get("DJANGO_ALLOWED_HOSTS", "")
        first = allowed.split(",")[0].strip()
        return "localhost" if first in ("", "*") else first.lstrip(".")

    def _seen(self, server: str) -> haproxy.BalancedServer:
        seen = self.balancer.servers().get(server)
        if seen is None:
            raise state.unknown_server(server)
        return seen

    def _failed(self, server: str, container: str, reason: str) -> ServerFailedError:
        log = engine.last_lines(container)
        exception = container_log.raised(log)
        return ServerFailedError(server, f"{reason}: {exception}" if exception else reason, log)


def _require_image(service: str, container: engine.Container, image: str) -> None:
    if container.image != image:
        raise ServerFailedError(service, "it still runs another image")
