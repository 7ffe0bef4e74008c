"""Deploys and rollbacks without failed requests; any failure ends on what ran before."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ..balancer import haproxy
from ..checks import preflight
from ..common.console import Console
from ..common.faults import (
    ExitCode,
    InterruptedByUserError,
    NotRolledBackError,
    RolledBackError,
    StackctlError,
    UsageError,
)
from ..common.interrupt import Interrupt
from ..docker import compose, engine, lock
from . import migrate, prebuilt, rebuild, record, refusals, release
from .record import Outcome
from .roll import Roll
from .server_checks import Limits, ServerFailedError


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a deploy."""

    # Empty: the name that git gives.
    release: str = ""
    # REPOSITORY@sha256:..., in place of a build.
    image: str = ""
    # Builds on fresh base images and Debian packages.
    pull: bool = False
    allow_incompatible: bool = False
    force: bool = False
    limits: Limits = field(default_factory=Limits)


def deploy(console: Console, options: Options) -> dict[str, Any]:
    """Build, check, migrate, and bring every server to the new release.

    Returns the result for scripts.

    Raises:
        StackctlError: refused; nothing was changed.
        RolledBackError: failed; the release before serves.
        NotRolledBackError: the release failed, and so did the rollback.
        InterruptedByUserError: stopped between two servers.
    """
    interrupt = Interrupt()
    pulled = ""
    if options.image:
        prebuilt.check(options.image, options.release, pull=options.pull)
    with console.step("checking this machine and the stack"):
        project = preflight.require("deploy")
    with lock.held(project, "deploy"), interrupt.noted(console.warn):
        balancer = refusals.require(project, console)
        if options.image:
            name, pulled = prebuilt.pull(project, options.image, console, interrupt)
        else:
            name = rebuild.named(project, options.release, pull=options.pull)
        if name.dirty:
            console.warn(f"the tree has uncommitted changes: this release is {name.text}")
        remember_present(project)
        last = record.unfinished(project)
        attempt = Attempt(project, "deploy", name.text, console)
        with attempt.begun():
            if options.pull:
                rebuild.pull_base_images(project, console, interrupt)
            attempt.image = pulled or build(
                project, name.text, console, interrupt, fresh=options.pull
            )
            with console.step("checking the environment with it"):
                force = project.check_environment(attempt.image) or options.force
            if not (force or last) and is_running(project, attempt.image):
                attempt.note(Outcome.UNCHANGED)
                console.good(f"every server runs {name.text} already; nothing to do")
                return result(attempt, changed=False)
            attempt.restart_clock()
            attempt.migrated = migrate_first(project, attempt.image, options, console, interrupt)
            roll_out(attempt, balancer, interrupt, options.limits, force=force)
        return result(attempt, changed=True)


def rollback(console: Console, wanted: str, limits: Limits) -> dict[str, Any]:
    """Bring every server to an earlier release, or the one before. The database stays as it is.

    Raises:
        UsageError: no image of the wanted release is left.
        StackctlError: as deploy() does.
    """
    interrupt = Interrupt()
    with console.step("checking this machine and the stack"):
        project = preflight.require("rollback")
    with lock.held(project, "rollback"), interrupt.noted(console.warn):
        balancer = refusals.require(project, console)
        remember_present(project)
        last = record.unfinished(project)
        target = wanted or release_before(project)
        image = release.offered(project).get(target)
        if image is None:
            known = ", ".join(release.offered(project)) or "none"
            raise UsageError(
                f"no image is left of a release {target!r} that served", f"There are: {known}."
            )
        attempt = Attempt(project, "rollback", target, console, image)
        seen = balancer.servers()
        if all(seen[server].up for server in project.servers) and is_running(project, image):
            _restore_latest_tag(project, image)
            console.good(f"every server runs {target} already; nothing to do")
            if last:
                attempt.note(Outcome.OK)
                console.say(
                    f"the {last.action} of {last.release} did not complete; the release "
                    "before it still serves. Another ./stackctl rollback goes one release further "
                    "back"
                )
            return result(attempt, changed=False)
        console.say(f"back to {target}; migrations are not undone")
        with attempt.begun():
            roll_out(attempt, balancer, interrupt, limits)
        return result(attempt, changed=True)


class Attempt:
    """One attempt, for the record."""

    def __init__(
        self, project: compose.Project, action: str, name: str, console: Console, image: str = ""
    ) -> None:
        """Start its clock."""
        self.project, self.action, self.release, self.image = project, action, name, image
        self.console = console
        # The migrations that were applied for it; they stay, whatever becomes of it.
        self.migrated: tuple[str, ...] = ()
        self._noted = self._resumed = False
        self.restart_clock()

    def restart_clock(self) -> None:
        """Count its seconds from now on."""
        self._started = time.monotonic()

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Record its begin before anything is touched, and its end whatever the block raises.

        What it raises passes through. Should stackctl be killed, the next command reads from the
        record what was in progress.
        """
        last = record.unfinished(self.project)
        self._resumed = last is not None
        self.note(Outcome.STARTED)
        self._noted = False
        try:
            yield
        except Exception as error:
            interrupted = isinstance(error, InterruptedByUserError)
            if not self._noted:
                # Nothing was touched: an attempt before that is unfinished is the one to resume.
                ended = interrupted and last is None
                words = error.problem if isinstance(error, StackctlError) else repr(error)
                if isinstance(error, RolledBackError):
                    # Why, and which migrations stay.
                    words = f"{error.problem}\n{error.hint}"
                self.note(Outcome.INTERRUPTED if ended else Outcome.FAILED, words)
            if not interrupted:
                _prune(self.project, self.console)
            raise
        _prune(self.project, self.console)

    def note(self, outcome: Outcome, words: str = "") -> None:
        """Write down how it ended; where that cannot be written, how it ended is as true."""
        self._noted = True
        seconds = round(time.monotonic() - self._started, 1)
        entry = record.Entry(
            *(lock.now(), self.action, self.release, self.image, outcome, lock.who()),
            *(seconds, words),
        )
        try:
            record.append(self.project, entry)
        except StackctlError as error:
            self.console.warn(f"this is not in the record of releases: {error.problem}")

    def serving_summary(self) -> str:
        """Return a line about the servers after all that it touched was put back."""
        if self.action == record.APPLY:
            return "Every server is in service. Correct .env, then ./stackctl apply."
        if not self._resumed:
            return "Every server runs the previous release again."
        return (
            f"Every server serves what it ran before: {_running_releases(self.project)}. "
            "./stackctl rollback brings back the release that served before."
        )

    def migrations_summary(self) -> str:
        """Return a line about its migrations, or nothing."""
        if not self.migrated:
            return ""
        return f"\nIts migrations stay applied: {', '.join(self.migrated)}."


def remember_present(project: compose.Project) -> None:
    """Name the images that run now, and record a release that serves without stackctl's doing.

    What an unfinished attempt left is on record by that attempt. Of servers that differ, without a
    record, the release that was built first served before.

    Raises:
        StackctlError: the engine does not answer, or the record cannot be written.
    """
    running = {c.release: c.image for c in release.keep_running_images(project).values()}
    known = record.releases(project)
    if not running or record.unfinished(project) or (known and len(running) > 1):
        return
    newest_first = list(release.available(project))
    name = max(running, key=newest_first.index)
    if name not in known:
        record.append(
            project,
            record.Entry(
                time=lock.now(),
                action=record.COMPOSE_UP,
                release=name,
                image=running[name],
                outcome=Outcome.OK,
                who=lock.who(),
            ),
        )


def release_before(project: compose.Project) -> str:
    """Return where a rollback without a name goes: one step back, and never forward again.

    After an unfinished deploy that is what served before it, wherever the deploy ended. An
    unfinished rollback is resumed, whatever was attempted after it without success.

    Raises:
        StackctlError: there is none on record that has an image.
    """
    present = set(running_releases(project).values())
    images = release.offered(project)
    entries = record.read(project)
    last = record.unfinished(project)
    if last and last.action.startswith((record.ROTATE, record.APPLY)):
        last = None
    for entry in reversed(entries):
        if entry.served or entry.outcome == Outcome.NOT_ROLLED_BACK:
            break
        if entry.action == "rollback" and entry.unfinished:
            return entry.release
    past = record.past(entries)
    if len(present) == 1 and not last:
        while past and past[-1] not in present and present & set(past):
            past.pop()
        past = [name for name in past if name not in present]
    for name in reversed(past):
        if name in images:
            return name
    raise StackctlError(
        "there is no earlier release to go back to", "`./stackctl releases` lists the releases."
    )


def running_releases(project: compose.Project) -> dict[str, str]:
    """Return which release each server and worker runs, from their containers alone."""
    containers = project.containers()
    return {
        name: containers[name].release
        for name in (*project.servers, *project.workers)
        if name in containers
    }


def build(
    project: compose.Project,
    name: str,
    console: Console,
    interrupt: Interrupt,
    *,
    fresh: bool = False,
) -> str:
    """Build the release's image and return its id; what compose starts stays as it is.

    With `fresh`, nothing of an earlier build is used.

    Raises:
        StackctlError: the build failed.
        InterruptedByUserError: Ctrl-C; nothing was changed.
    """
    with console.step(f"building {name}"):
        image = project.build(
            *(release.image_of(project, name), name, console.detail),
            lambda: interrupt.requested,
            fresh=fresh,
        )
    if interrupt.requested:
        raise InterruptedByUserError("interrupted while building; nothing was changed")
    return image


def is_running(project: compose.Project, image: str) -> bool:
    """Return whether all of the application runs this image with the present configuration."""
    return set(project.running(image)) >= {*project.servers, *project.workers}


def migrate_first(
    project: compose.Project, image: str, options: Options, console: Console, interrupt: Interrupt
) -> tuple[str, ...]:
    """Check the new release's migrations and apply them, before any server is touched.

    Returns:
        The migrations that were applied.

    Raises:
        StackctlError: a migration was refused or failed.
        InterruptedByUserError: Ctrl-C before a migration began.
    """
    with console.step("checking its migrations"):
        plan = migrate.make_plan(project, image, lint=True)
        migrate.gate(plan, allow_incompatible=options.allow_incompatible, warn=console.warn)
    if interrupt.requested:
        raise InterruptedByUserError("interrupted before migrating; nothing was changed")
    if plan.unapplied:
        with console.step(f"migrating: {', '.join(plan.unapplied)}"):
            migrate.run(project, image, plan, console.say, console.detail)
    return plan.unapplied


def roll_out(
    attempt: Attempt,
    balancer: haproxy.Balancer,
    interrupt: Interrupt,
    limits: Limits,
    *,
    force: bool = False,
) -> None:
    """Bring every server to an attempt's image, or back to what it ran; note how it ended.

    Raises:
        StackctlError: as deploy() does.
    """
    project, console = attempt.project, attempt.console
    latest = engine.image_id(project.latest)
    roll = Roll(project, balancer, console, interrupt, limits)
    try:
        migrate.keep_static(project, attempt.image)
        finished = roll.all(attempt.image, attempt.release, force=force)
    except Exception as error:
        # Whatever it is, a fault of this program too: visitors are better off with what ran before.
        reason = show(error, console)
        _back(attempt, roll, latest, reason)
        raise RolledBackError(
            f"{attempt.action} of {attempt.release} failed: {reason}",
            f"{attempt.serving_summary()}{attempt.migrations_summary()}",
        ) from None
    if not finished:
        _restore_latest_tag(project, latest)
        attempt.note(Outcome.INTERRUPTED)
        raise InterruptedByUserError("interrupted; " + _running_releases(project), _next(attempt))
    attempt.note(Outcome.OK)
    console.good(f"every server runs {attempt.release}")


def _prune(project: compose.Project, console: Console) -> None:
    """Let old images go; a release that serves has not failed because one stays."""
    try:
        for gone in release.prune(project):
            console.say(
                f"cleaning up: removed the image of {gone}; "
                f"the {release.KEPT} latest releases that served keep theirs"
            )
    except StackctlError as error:
        console.warn(f"older releases' images were not checked: {error.problem}")


def show(error: Exception, console: Console) -> str:
    """Show the failed program's last lines and the remedy; return what went wrong in one line."""
    if isinstance(error, StackctlError):
        console.lines(error.output)
        if error.hint:
            console.say(error.hint)
        return error.problem
    if not isinstance(error, ServerFailedError):
        # A fault of this program, which needs its traceback.
        console.lines("".join(traceback.format_exception(error)))
        return f"{type(error).__name__}: {error}"
    reason = f"{error.server}: {error.reason}"
    console.bad(reason)
    if error.log:
        console.say(f"the last lines of {error.server}:")
        console.lines(error.log)
    return reason


def _back(attempt: Attempt, roll: Roll, latest: str, reason: str) -> None:
    try:
        roll.back()
    except Exception as error:
        attempt.note(Outcome.NOT_ROLLED_BACK, reason)
        why = show(error, attempt.console)
        raise NotRolledBackError(
            f"{attempt.action} of {attempt.release} failed ({reason}), and so did the rollback: "
            f"{why}",
            f"{_running_releases(roll.project)}.\nCheck `./stackctl status` and the log above; "
            "then ./stackctl ready SERVER, or ./stackctl rollback RELEASE."
            f"{attempt.migrations_summary()}",
        ) from None
    finally:
        _restore_latest_tag(roll.project, latest)
    attempt.note(Outcome.ROLLED_BACK, reason)


def _restore_latest_tag(project: compose.Project, latest: str) -> None:
    """Have the next `docker compose up` start what it would have started before."""
    with suppress(StackctlError):
        engine.tag(latest, project.latest)


def _running_releases(project: compose.Project) -> str:
    """Return it in words; the message that it is a part of must come whatever is broken."""
    try:
        releases = running_releases(project)
    except StackctlError as error:
        return f"the running releases are unknown ({error.problem})"
    return ", ".join(f"{service} runs {name}" for service, name in releases.items())


def _next(attempt: Attempt) -> str:
    if attempt.action == "rollback":
        ways = f"./stackctl rollback {attempt.release} resumes"
    elif attempt.action == record.APPLY:
        ways = "./stackctl apply resumes"
    else:
        ways = "./stackctl deploy resumes, ./stackctl rollback goes back"
    return (
        f"Every server is in service. {ways}; ./stackctl releases lists the releases."
        f"{attempt.migrations_summary()}"
    )


def result(attempt: Attempt, *, changed: bool) -> dict[str, Any]:
    """Return an attempt that ended well, for scripts."""
    project = attempt.project
    try:
        running = running_releases(project)
    except StackctlError as error:
        # The release serves: an engine that does not answer afterwards is no failure of it.
        attempt.console.warn(f"which release each server runs is not known: {error.problem}")
        running = {}
    return {
        "action": attempt.action,
        "project": project.name,
        "release": attempt.release,
        "changed": changed,
        "servers": {name: running[name] for name in project.servers if name in running},
        "code": int(ExitCode.OK),
    }
