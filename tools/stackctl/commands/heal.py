"""Healing where Docker itself does nothing: ended containers are started, hung servers restarted.

Docker starts a container again that crashed. It does not when the container ended by `docker kill`,
which counts as intended, and never restarts an unhealthy one.
https://docs.docker.com/engine/containers/start-containers-automatically/#restart-policy-details
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..checks import state
from ..checks.diagnosis import Diagnosis, Remedy, examine, is_suspect
from ..common.console import Console
from ..common.faults import ExitCode, StackctlError
from ..common.interrupt import Interrupt
from ..docker import compose, engine, lock
from ..releases import surge
from . import stack

CHECK_SECONDS = 5.0
# How long a service may take until it is back in service: its checks' start period, and more.
BACK_SECONDS = 90.0
POLL_SECONDS = 0.2
LINES = 10
# Between two tries of the same service, doubled with each; forgotten after it was well for so long.
FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 300.0
WELL_SECONDS = 60.0

HEALING = (Remedy.START, Remedy.RESTART)


class BusyError(StackctlError):
    """Another stackctl command is changing the stack."""


@dataclass
class Tries:
    """How often a service was healed of late."""

    count: int = 0
    last: float = 0.0

    @property
    def pause(self) -> float:
        """Return the seconds from the last try to the next."""
        if not self.count:
            return 0.0
        return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (self.count - 1))

    def add(self) -> None:
        """Note a try that has just ended."""
        self.count += 1
        self.last = time.monotonic()

    @property
    def due(self) -> float:
        """Return how many seconds are left until the next try."""
        return max(0.0, self.last + self.pause - time.monotonic())


@dataclass
class Report:
    """What one check detected and did, by service."""

    healed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left_alone: dict[str, str] = field(default_factory=dict)
    # The part of `left_alone` that no user requested.
    unsolved: list[str] = field(default_factory=list)

    def as_dict(self, project: str) -> dict[str, Any]:
        """Return it for scripts."""
        unhealed = self.failed or self.unsolved
        return {
            "project": project,
            "healed": self.healed,
            "failed": self.failed,
            "left_alone": self.left_alone,
            "code": int(ExitCode.REFUSED if unhealed else ExitCode.OK),
        }


def heal(console: Console, *, watch: bool, seconds: float) -> dict[str, Any]:
    """Check once, or repeatedly until a signal, and heal what ended by a fault.

    Args:
        console: where each action is reported.
        watch: whether to repeat until Ctrl-C.
        seconds: between two checks.

    Raises:
        StackctlError: docker or the project cannot be read; or, unless watching, the engine does
            not answer or another stackctl command is changing the stack.
    """
    project = stack.load()
    interrupt = Interrupt()
    healer = Healer(project, console, interrupt)
    with interrupt.noted(lambda _: console.say("ending")):
        if not watch:
            report = healer.check()
            if not (report.healed or report.failed or report.unsolved):
                console.good("nothing to heal")
            return report.as_dict(project.name)
        console.say(f"watching {project.name}, a check every {seconds:g} s")
        while not interrupt.requested:
            healer.check_safely()
            healer.wait(seconds)
    return {"project": project.name, "code": int(ExitCode.OK)}


class Healer:
    """One watched stack: what was done so far, and what was reported."""

    def __init__(self, project: compose.Project, console: Console, interrupt: Interrupt) -> None:
        """Begin with nothing tried or reported."""
        self.project, self.console, self.interrupt = project, console, interrupt
        self.tries: dict[str, Tries] = {}
        self._reported: dict[str, str] = {}
        self._stopped: set[tuple[str, str]] = set()

    def wait(self, seconds: float) -> None:
        """Wait for `seconds`; a signal ends the wait."""
        until = time.monotonic() + seconds
        while not self.interrupt.requested and time.monotonic() < until:
            time.sleep(min(POLL_SECONDS, seconds))

    def check_safely(self) -> None:
        """Check, and report what prevents it; the next check may succeed."""
        try:
            report = self.check()
        except StackctlError as error:
            self._report_once("", f"{error.problem}; the next check tries again")
            return
        self._reported.pop("", None)
        if report.healed or report.failed:
            self.console.result(report.as_dict(self.project.name))

    def check(self) -> Report:
        """Check once, and heal what may be healed now.

        Raises:
            BusyError: another stackctl command is changing the stack.
            StackctlError: the engine does not answer.
        """
        report = Report()
        suspects = {c.service for c in self.project.containers().values() if is_suspect(c)}
        self._forget_the_well(suspects)
        if not suspects:
            return report
        if not self._due(self._examined(report)):
            return report
        self._refuse_while_busy()
        with lock.held(self.project, "heal"):
            # The command that held the lock until now may have changed everything.
            report = Report()
            patients = self._due(self._examined(report))
            starts = [f for f in patients if f.remedy is Remedy.START]
            # Never two restarts at once: the others are in service meanwhile.
            self._treat(starts or patients[:1], report)
        return report

    def _examined(self, report: Report) -> list[Diagnosis]:
        """Return what can be healed; report, once, what is not, and why."""
        patients = []
        for finding in examine(state.glance(self.project), self._stopped):
            if finding.remedy in HEALING:
                patients.append(finding)
                continue
            report.left_alone[finding.service] = finding.reason
            if finding.remedy is Remedy.REPORT:
                report.unsolved.append(finding.service)
            self._report_once(
                finding.service, f"{finding.service}: {finding.reason}; not restarted"
            )
        return patients

    def _due(self, patients: Sequence[Diagnosis]) -> list[Diagnosis]:
        """Return those whose time has come; say, once a try, how long the others wait."""
        due = []
        for finding in patients:
            tries = self.tries.setdefault(finding.service, Tries())
            if not tries.due:
                due.append(finding)
                continue
            self._report_once(
                finding.service,
                f"{finding.service}: {finding.reason}, again soon after try {tries.count}; the "
                f"next one comes {tries.pause:g} s after that",
            )
        return due

    def _refuse_while_busy(self) -> None:
        if busy := lock.holder(self.project):
            raise BusyError(f"something is to be healed, but {busy}", "Wait until it has ended.")

    def _treat(self, patients: Sequence[Diagnosis], report: Report) -> None:
        """Start or restart, then wait until each is back in service or has failed again."""
        started = time.monotonic()
        try:
            acted = [(finding.service, self._act(finding)) for finding in patients]
            report.failed += [service for service, done in acted if not done]
            self._wait_until_back([service for service, done in acted if done], started, report)
        finally:
            for finding in patients:
                self.tries[finding.service].add()
                self._reported.pop(finding.service, None)

    def _wait_until_back(self, waiting: list[str], started: float, report: Report) -> None:
        """Sort the services into healed and failed ones, each as soon as that is known."""
        while (
            waiting and time.monotonic() < started + BACK_SECONDS and not self.interrupt.requested
        ):
            seen = state.glance(self.project)
            for service in tuple(waiting):
                well = is_well(seen, service)
                if well is None:
                    continue
                waiting.remove(service)
                (report.healed if well else report.failed).append(service)
                if well:
                    seconds = time.monotonic() - started
                    self.console.good(f"{service}: back in service after {seconds:.1f} s")
                else:
                    self.console.bad(f"{service}: ended again")
            time.sleep(POLL_SECONDS)
        for service in waiting:
            report.failed.append(service)
            self.console.bad(f"{service}: not in service after {time.monotonic() - started:.0f} s")

    def _act(self, finding: Diagnosis) -> bool:
        """Heal a finding, and report it; false when the engine refused."""
        name, identity = finding.service, finding.container.id
        doing = "starting" if finding.remedy is Remedy.START else "restarting"
        self.console.warn(f"{name}: {finding.reason}; {doing} it. Its last lines:")
        self.console.lines(engine.last_lines(identity, LINES))
        try:
            if finding.remedy is Remedy.START:
                result = engine.start(identity)
            else:
                result = engine.restart(
                    identity, self._grace(finding), self.project.recreate_seconds
                )
        except StackctlError as error:
            self.console.bad(f"{name}: {error.problem}")
            return False
        if not result.ok:
            self.console.bad(f"{name}: {result.text()}")
        return result.ok

    def _grace(self, finding: Diagnosis) -> float | None:
        """Return how long a hung service may take to stop, in seconds; None for its usual time.

        No request of a server lives longer than this, and the load balancer sends it no new ones.
        """
        if finding.service not in self.project.servers:
            return None
        return surge.longest_request(finding.container)

    def _forget_the_well(self, suspects: set[str]) -> None:
        """Forget what was reported of healthy services, and after a while how often they failed."""
        for service in [name for name in self._reported if name and name not in suspects]:
            del self._reported[service]
        for service, tries in list(self.tries.items()):
            if service not in suspects and time.monotonic() - tries.last > WELL_SECONDS:
                del self.tries[service]

    def _report_once(self, service: str, words: str) -> None:
        """Say something unless it was the last thing said of that service."""
        if self._reported.get(service) != words:
            self._reported[service] = words
            self.console.warn(words)


def is_well(seen: state.StackStatus, service: str) -> bool | None:
    """Return whether a service that was started is in service; None while that is open."""
    container = seen.containers.get(service)
    if container is None or container.status in ("exited", "dead"):
        return False
    if not container.running or container.health not in ("healthy", "none"):
        return None
    # Where the load balancer cannot say it, the container's own health has to do.
    server = seen.servers.get(service) if seen.running and not seen.silent else None
    if server is not None and server.state is not state.ServerState.READY:
        return None
    return True
