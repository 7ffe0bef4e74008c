"""Deploys and rollbacks without failed requests; any failure ends on what ran before."""

from __future__ import annotations

import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..balancer import haproxy
from ..checks import preflight
from ..common.console import Console
from ..common.faults import (
    InterruptedByUserError,
    NotRolledBackError,
    RolledBackError,
    StackctlError,
    UsageError,
)
from ..common.interrupt import Interrupt
from ..docker import compose, engine, lock
from . import migrate, prebuilt, rebuild, record, refusals, release
from .attempt import Attempt, in_words, next_steps, result, running_releases
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
        raise InterruptedByUserError("interrupted; " + in_words(project), next_steps(attempt))
    attempt.note(Outcome.OK)
    console.good(f"every server runs {attempt.release}")


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
            f"{in_words(roll.project)}.\nCheck `./stackctl status` and the log above; "
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
