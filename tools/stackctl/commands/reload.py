"""Another haproxy.cfg or certificate into service while visitors use the site.

The master process starts a worker with the new configuration, which takes over the sockets that
listen; the former worker answers what it has begun, and ends. What a user set by hand
in HAProxy about its servers is handed on in a file.
"""

from __future__ import annotations

import time
from typing import Any

from ..balancer import certificate, configuration, haproxy, kept_state
from ..balancer.configuration import Configuration, Messages
from ..checks import state
from ..checks.answers import get
from ..common import outputs
from ..common.console import Console
from ..common.faults import ExitCode, InterruptedByUserError, StackctlError
from ..common.interrupt import Interrupt
from ..docker import compose, engine, lock
from . import stack

# The new worker answers, and has every server that was in service.
SERVES_SECONDS = 15.0
# After REQUEST_SECONDS: haproxy.cfg's hard-stop-after, and a little. A test compares.
FORMER_SECONDS = 45.0
POLL_SECONDS = 0.2
# The file's name is the first argument; it appears whole or not at all.
WRITE = (
    'my $f = $ARGV[0]; umask 077; open(my $o, \'>\', "$f.new") or die "$f.new: $!\\n"; '
    'print $o <STDIN>; close($o) or die "$f.new: $!\\n"; rename("$f.new", $f) or die "$f: $!\\n";'
)
NEW_CONTAINER = compose.recreate_command(compose.BALANCER)


def reload(console: Console) -> dict[str, Any]:
    """Check haproxy.cfg and bring it into service; what is refused changes nothing.

    Raises:
        StackctlError: refused, or a server that was in service is not any more.
        InterruptedByUserError: the new configuration serves, but not everything was checked.
    """
    project = stack.load()
    interrupt = Interrupt()
    with lock.held(project, "reload"), interrupt.noted(console.warn):
        return Reload(project, console, interrupt).run()


class Reload:
    """One reload of the stack's load balancer."""

    def __init__(self, project: compose.Project, console: Console, interrupt: Interrupt) -> None:
        """Find the load balancer.

        Raises:
            StackctlError: it does not run.
        """
        self.project, self.console, self.interrupt = project, console, interrupt
        self.balancer = state.balancer_of(project)
        self.container = engine.one(self.balancer.container)

    def run(self) -> dict[str, Any]:
        """Reload, and return the result for scripts.

        Raises:
            StackctlError: refused, or a server that was in service is not any more.
            InterruptedByUserError: the new configuration serves, but not everything was checked.
        """
        with self.console.step(f"checking {configuration.SHOWN}"):
            wanted = configuration.check(self.container)
            if self.project.tls:
                self.console.say(certificate.install(self.project))
            former = self.balancer.workers().present
            before = self.balancer.servers()
        for line in wanted.warnings:
            self.console.warn(f"HAProxy: {line}")
        with self.console.step("reloading HAProxy"):
            self._replace(wanted, before)
            worker = self._wait_worker(former)
        with self.console.step("waiting until every server is in service again"):
            self._wait_servers(before)
            self._check_site(before)
        with self.console.step("waiting for the former process's last requests"):
            self._wait_former()
        self.console.good(f"HAProxy serves with {configuration.SHOWN} as it is now")
        return self._result(worker, wanted)

    def _replace(self, wanted: Configuration, servers: dict[str, haproxy.BalancedServer]) -> None:
        """Have the master start a new worker that knows what the present one knows."""
        answer = self.balancer.command("show servers state")
        with outputs.read("show servers state"):
            text = kept_state.state_file(answer, wanted.servers)
        self._write_state(text)
        try:
            said = self.balancer.reload(servers)
        finally:
            # A later start or reload that is not ours must not find what is no longer true.
            engine.execute(self.container.id, "rm", "-f", haproxy.STATE_FILE)
        if not said.startswith("Success=1"):
            words = Messages.parse(said, self.container).alerts
            raise StackctlError(
                "HAProxy could not start with the new configuration, although its syntax is "
                "valid; the previous configuration is in use",
                "\n".join((*words, f"Correct {configuration.SHOWN}, then: ./stackctl reload")),
            )

    def _write_state(self, text: str) -> None:
        result = engine.execute(
            self.container.id, "perl", "-e", WRITE, haproxy.STATE_FILE, stdin=text
        )
        if not result.ok:
            raise StackctlError(
                f"the servers' state cannot be kept; nothing was changed: {result.text()}",
                "The tmpfs /var/lib/haproxy of docker-compose.yaml has to be writable.",
            )

    def _wait_worker(self, former: int) -> int:
        """Return the new worker's process id once it answers."""
        deadline = time.monotonic() + SERVES_SECONDS
        while True:
            shown = self.balancer.command("show info")
            facts = dict(line.partition(": ")[::2] for line in shown.splitlines())
            with outputs.read("show info"):
                worker = int(facts.get("Pid") or former)
            if worker != former:
                return worker
            if time.monotonic() > deadline:
                raise StackctlError(
                    f"no new HAProxy process answers within {SERVES_SECONDS:g} s of the reload",
                    "The former process still serves. docker compose logs --tail 30 haproxy",
                )
            time.sleep(POLL_SECONDS)

    def _wait_servers(self, before: dict[str, haproxy.BalancedServer]) -> None:
        deadline = time.monotonic() + SERVES_SECONDS
        while differences := changed(before, self.balancer.servers()):
            self._stop_if_interrupted()
            if time.monotonic() > deadline:
                raise StackctlError(
                    "the new configuration serves, but not every server has its former state",
                    "\n".join(
                        (*differences, f"Or undo the change of {configuration.SHOWN} and reload.")
                    ),
                )
            time.sleep(POLL_SECONDS)

    def _check_site(self, before: dict[str, haproxy.BalancedServer]) -> None:
        """Ask as a visitor does; which answer it gives is the configuration's affair."""
        # As the container runs, which may be older than the TLS variables.
        site = self.project.site()
        if site.port not in self.container.published:
            return
        status, words = get(site, "localhost", "/readyz")
        if not status and any(server.up for server in before.values()):
            raise StackctlError(
                f"the new configuration serves, but the site does not answer on port {site.port}: "
                f"{words}",
                f"Does {configuration.SHOWN} still bind its port? Undo the change and reload.",
            )

    def _wait_former(self) -> None:
        """Wait until no process of before is left: one does not know what a later drain says."""
        seconds = self.container.request_seconds + FORMER_SECONDS
        deadline = time.monotonic() + seconds
        while former := self.balancer.workers().former:
            self._stop_if_interrupted()
            if time.monotonic() > deadline:
                self.console.warn(f"still there after {seconds:g} s: process {former[0]}")
                return
            time.sleep(POLL_SECONDS)

    def _stop_if_interrupted(self) -> None:
        if self.interrupt.requested:
            raise InterruptedByUserError(
                "interrupted; the new configuration serves, but not everything was checked",
                "./stackctl status",
            )

    def _result(self, worker: int, wanted: Configuration) -> dict[str, Any]:
        service = compose.BALANCER
        other = self.container.config_hash != self.project.config_hash(service)
        if other:
            self.console.warn(
                "the compose files or variables describe another haproxy container "
                "than the one that runs (its ports, its environment, its image); a reload brings "
                f"{configuration.SHOWN} alone"
            )
            self.console.say(f"{NEW_CONTAINER} applies the rest, with a short interruption")
        return {
            "action": "reload",
            "project": self.project.name,
            "worker": worker,
            "servers": {
                name: server.state.value
                for name, server in state.read_status(self.project).servers.items()
            },
            "warnings": list(wanted.warnings),
            "other_container_wanted": other,
            "code": int(ExitCode.OK),
        }


def changed(
    before: dict[str, haproxy.BalancedServer], now: dict[str, haproxy.BalancedServer]
) -> list[str]:
    """Return what is wrong after a reload: who was in service and is not, or the reverse."""
    differences = []
    for name, old in before.items():
        new = now.get(name)
        if new is None:
            # Taken out of the configuration, on purpose.
            continue
        if old.up and not new.up:
            differences.append(
                f"{name} was in service, and HAProxy says {new.status}, {new.check}: "
                f"docker compose logs --tail 30 {name}"
            )
        elif old.drained_by_hand and new.up:
            differences.append(f"{name} was drained, and is in service: ./stackctl drain {name}")
    return differences
