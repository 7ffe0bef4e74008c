"""All servers to another image without a failed request, and back when that fails."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from ..balancer import haproxy
from ..checks.answers import SERVES, WHOLE
from ..common.console import Console
from ..common.faults import StackctlError
from ..common.interrupt import Interrupt
from ..docker import compose, engine
from .server_checks import HEALTH_SECONDS, Limits, ServerChecks, ServerFailedError
from .surge import MARK_DRAINED, POLL_SECONDS, Surge, longest_request, next_to, reason_in_place

QUIET_POLLS = 3


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
    # The servers that were started next to others.
    surge: Surge | None = None

    def __post_init__(self) -> None:
        """Prepare the checks of its servers."""
        self.checks = ServerChecks(self.project, self.balancer, self.console, self.limits)

    def all(self, image: str, release: str, *, force: bool = False) -> bool:
        """Bring every server, then every worker, to the image; false when interrupted between two.

        One that runs it already, with the present configuration, is left alone unless `force`. A
        server that is out of service is recreated first: the others serve meanwhile.

        Raises:
            ServerFailedError: one failed; back() undoes it and what came before.
        """
        finished = self._all(image, release, force=force)
        self._remove_former()
        return finished

    def _all(self, image: str, release: str, *, force: bool) -> bool:
        self.present = engine.image_id(self.project.latest)
        containers = self.project.containers()
        self.checks.note_ailing(containers)
        running = {name for name, container in containers.items() if container.running}
        out = [s for s in self.project.servers if s not in running or not self.checks.seen(s).up]
        for server in out:
            self.server(server, image, release)
        left = [server for server in self.project.servers if server not in out]
        due = self._due([*left, *self.project.workers], image, release, force=force)
        others = [service for service in due if service in self.project.servers]
        workers = [service for service in due if service not in self.project.servers]
        if others and not self._replace(others, workers, image, release):
            return False
        for service in workers:
            if self.interrupt.requested:
                return False
            if self.surge is None or service not in self.surge.new:
                self.worker(service, image)
        engine.tag(image, self.project.latest)
        return True

    def _due(self, services: list[str], image: str, release: str, *, force: bool) -> list[str]:
        """Return those of the services that do not run the image yet, and say which do."""
        if force:
            return services
        done = self.project.running(image)
        for service in services:
            if service in done:
                self.console.say(f"{service}: runs {release} already")
        return [service for service in services if service not in done]

    def _replace(self, servers: list[str], workers: list[str], image: str, release: str) -> bool:
        """Replace servers that are in service; false when interrupted before all were.

        Workers that may have two containers for a while start next to the present ones, too.
        """
        containers = self.project.containers()
        reason = "" if self.limits.in_place else reason_in_place(self.project, containers)
        if not self.limits.in_place and not reason:
            second = next_to(self.project, workers, containers)
            chosen = {name: containers[name] for name in (*servers, *second)}
            return self._surge(servers, chosen, image, release)
        if reason:
            self.console.say(f"each server is drained and recreated in place: {reason}")
        return all(
            not self.interrupt.requested and self.server(server, image, release, interruptible=True)
            for server in servers
        )

    def _surge(
        self, servers: list[str], present: dict[str, engine.Container], image: str, release: str
    ) -> bool:
        """Start a container next to each present one, and have HAProxy send the requests there.

        The first server is watched before the others follow.
        """
        surge = self.surge = Surge(self.project, self.balancer, present)
        names, all_names = ", ".join(servers), ", ".join(present)
        with self.console.step(f"{all_names}: starting {release} next to the running release"):
            engine.tag(image, self.project.latest)
            error = surge.start()
            # Should stackctl be killed now, a plain `docker compose up` keeps what serves.
            engine.tag(self.present, self.project.latest)
            if error:
                raise ServerFailedError(servers[0], "compose could not start it", error)
            for service, container in surge.new.items():
                _require_image(service, container, image)
            for service, container in surge.new.items():
                self.checks.wait_healthy(service, container.id)
        with self.console.step(f"{names}: checking {release}"):
            for server in servers:
                self.checks.check_itself(server, surge.new[server].id, release, WHOLE * 2)
        for group in filter(None, (servers[:1], servers[1:])):
            if self.interrupt.requested:
                return False
            engine.tag(image, self.project.latest)
            with self.console.step(f"{', '.join(group)}: requests go to {release}"):
                for server in group:
                    surge.move(server)
                self.checks.check_through_balancer(
                    {one: surge.new[one].id for one in group}, release
                )
        return True

    def _remove_former(self) -> None:
        """Remove the containers that serve no more; a release that serves has not failed by one."""
        surge, self.surge = self.surge, None
        if surge is None:
            return
        with self.console.step("removing the former containers"):
            for tries_left in reversed(range(engine.TRIES)):
                try:
                    surge.settle(surge.moved)
                    return
                except Exception as error:
                    left = f"a former container is left: {error}; the next deploy removes it"
                    if not tries_left:
                        self.console.warn(left)
                time.sleep(engine.RETRY_SECONDS)

    def back(self) -> None:
        """Put what was touched back on the image it had, the last one first.

        Each is tried, whatever became of the others; no server is left drained. An interrupt does
        not stop it: a user who interrupts wants what ran before.

        Raises:
            ServerFailedError, StackctlError: the rollback failed too; the first fault.
        """
        # An impatient limit is meant for the new release; giving up on the old one has no use.
        health = max(self.limits.health, HEALTH_SECONDS)
        self.checks.limits = replace(self.limits, health=health)
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
                self.surge.settle(moved=())
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

        Args:
            server: the server.
            image: the image's id.
            release: the release that it was built as.
            back: whether this is a rollback: the server has to serve, and need not have all
                components up.
            interruptible: whether an interrupt ends the wait for its requests.

        Raises:
            ServerFailedError: it does not come up with the image, or answers wrongly.
            StackctlError: HAProxy or the engine does not answer.
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
            self.checks.wait_healthy(server, container)
            self.checks.wait_seen(server, container)
        with self.console.step(f"{server}: checking {release}"):
            self.checks.check_itself(server, container, release, SERVES if back else WHOLE * 2)
            self.balancer.ready(server)
            self.checks.check_through_balancer({server: container}, release)
        return True

    def drain(self, server: str, *, interruptible: bool = True) -> bool:
        """Take a server out of service and wait for its requests to end; false when interrupted.

        Raises:
            StackctlError: HAProxy cannot be reached, or does not know the server.
        """
        container = self.project.containers().get(server)
        seconds = longest_request(container) if container else 0.0
        deadline = time.monotonic() + seconds
        quiet = 0
        self.balancer.drain(server)
        while quiet < QUIET_POLLS:
            if interruptible and self.interrupt.requested:
                return False
            seen = self.checks.seen(server)
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
        seen = self.checks.seen(server)
        container = self.project.containers().get(server)
        if container is not None and seen.drained_by_hand and not self._busy(seen):
            engine.execute(container.id, "sh", "-c", MARK_DRAINED)

    def worker(self, service: str, image: str, *, remember: bool = True) -> None:
        """Bring a service that answers no requests to the image.

        Raises:
            ServerFailedError: it does not come up with the image.
            StackctlError: the engine does not answer.
        """
        if remember:
            self._remember(service)
        with self.console.step(f"{service}: starting"):
            self.checks.wait_healthy(service, self._recreate(service, image))

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


def _require_image(service: str, container: engine.Container, image: str) -> None:
    if container.image != image:
        raise ServerFailedError(service, "it still runs another image")
