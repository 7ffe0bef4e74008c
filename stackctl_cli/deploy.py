"""A new release, or an old one again: nobody notices, and any failure ends on what ran before."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from . import compose, engine, haproxy, lock, migrate, preflight, record, release, state
from .console import Console
from .faults import (
    ExitCode,
    InterruptedByUserError,
    NotRolledBackError,
    RolledBackError,
    StackctlError,
    UsageError,
)
from .interrupt import Interrupt
from .record import Outcome
from .roll import Limits, Roll, ServerFailedError


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person asked of a deploy."""

    # Empty: the name that git gives.
    release: str = ""
    allow_incompatible: bool = False
    force: bool = False
    limits: Limits = field(default_factory=Limits)


def deploy(console: Console, wish: Wish) -> dict[str, Any]:
    """Build, check, migrate, and bring every server to the new release.

    Returns the result for scripts.

    Raises:
        StackctlError: refused; nothing was changed.
        RolledBackError: failed; the release before serves.
        NotRolledBackError: failed, and so did the way back.
        InterruptedByUserError: stopped between two servers.
    """
    interrupt = Interrupt()
    with console.step("checking this machine and the stack"):
        project = preflight.require()
    with lock.held(project.name, "deploy"), interrupt.noted(console.warn):
        balancer = require_whole_stack(project)
        require_backing(project, console)
        name = release.named(wish.release) if wish.release else release.from_git()
        if name.dirty:
            console.warn(f"the tree has changes that no commit holds: this is {name.text}")
        remember_present(project)
        image = build(project, name.text, console, interrupt)
        if not wish.force and is_running(project, image):
            console.good(f"every server runs {name.text} already; nothing to do")
            return _result("deploy", project, name.text, changed=False)
        attempt = Attempt(project, "deploy", name.text, image)
        try:
            migrate_first(project, image, wish, console, interrupt)
        except RolledBackError as error:
            attempt.note(Outcome.FAILED, error.cure)
            raise
        _roll(attempt, balancer, console, interrupt, wish.limits, force=wish.force)
        for gone in release.prune(project):
            console.say(f"removed the image of {gone}, older than the {release.KEPT} kept")
        return _result("deploy", project, name.text, changed=True)


def rollback(console: Console, wanted: str, limits: Limits) -> dict[str, Any]:
    """Bring every server to an earlier release, or the one before. The database stays as it is.

    Raises:
        as deploy() does.
    """
    interrupt = Interrupt()
    with console.step("checking this machine and the stack"):
        project = preflight.require()
    with lock.held(project.name, "rollback"), interrupt.noted(console.warn):
        balancer = require_whole_stack(project)
        require_backing(project, console)
        remember_present(project)
        target = wanted or release_before(project)
        image = release.available(project).get(target)
        if image is None:
            known = ", ".join(release.available(project)) or "none"
            raise UsageError(f"there is no image of release {target!r}", f"There are: {known}.")
        if is_running(project, engine.image_id(release.image_of(project, target))):
            console.good(f"every server runs {target} already; nothing to do")
            return _result("rollback", project, target, changed=False)
        console.say(f"back to {target}; migrations are not undone")
        identity = engine.image_id(release.image_of(project, target))
        attempt = Attempt(project, "rollback", target, identity)
        _roll(attempt, balancer, console, interrupt, limits)
        return _result("rollback", project, target, changed=True)


class Attempt:
    """One attempt, for the record."""

    def __init__(self, project: compose.Project, action: str, name: str, image: str) -> None:
        """Start its clock."""
        self.project, self.action, self.release, self.image = project, action, name, image
        self._started = time.monotonic()

    def note(self, outcome: Outcome, words: str = "") -> None:
        """Write down how it ended."""
        seconds = round(time.monotonic() - self._started, 1)
        entry = record.Entry(
            *(lock.now(), self.action, self.release, self.image, outcome, lock.who()),
            *(seconds, words),
        )
        record.append(self.project.name, entry)


def require_whole_stack(project: compose.Project) -> haproxy.Balancer:
    """Return the load balancer; refuse to roll a stack that is not all in service.

    Raises:
        StackctlError: it does not run, a server is down, or an earlier drain is unfinished.
    """
    balancer = state.balancer_of(project)
    wrong = []
    for server in state.look(project).servers.values():
        seen = server.balancer
        if seen is None:
            wrong.append(
                f"HAProxy does not know {server.name}: haproxy/haproxy.cfg has to name it, and "
                "HAProxy to run with the present variables: "
                "docker compose up --detach --no-deps haproxy"
            )
        elif seen.drained_by_hand:
            wrong.append(
                f"{server.name} is {server.state} (an earlier drain or release is unfinished): "
                f"./stackctl ready {server.name}"
            )
        elif not seen.up or server.state is not state.ServerState.READY:
            wrong.append(
                f"{server.name} is {server.state}, HAProxy says {seen.status}: "
                f"docker compose logs --tail 30 {server.name}, then ./stackctl up"
            )
    if wrong:
        raise StackctlError(
            "refused, because not every server is in service; nothing was changed",
            "\n".join(wrong),
        )
    return balancer


def require_backing(project: compose.Project, console: Console) -> None:
    """Refuse to roll onto a database, cache or broker that was never started; warn of an old one.

    One that is down is no reason to refuse: the release may be what it waits for.

    Raises:
        StackctlError: one has no container.
    """
    containers = project.containers()
    missing = [name for name in project.backing if name not in containers]
    if missing:
        names = " ".join(missing)
        raise StackctlError(
            f"refused, because the release would use what is not there: {names}; nothing was "
            "changed",
            f"Start it first: docker compose up --detach --wait --no-deps {names}",
        )
    for name in project.backing:
        if containers[name].config_hash != project.config_hash(name):
            console.warn(
                f"{name} runs with another configuration than the present one (a variable or a "
                "compose file has changed), and a release leaves it alone: "
                f"docker compose up --detach --wait --no-deps {name}"
            )


def remember_present(project: compose.Project) -> None:
    """Name the images that run now and put them on record, so that there is a way back."""
    known = record.releases(project.name)
    for container in release.keep_running_images(project).values():
        if container.release not in known:
            known.append(container.release)
            record.append(
                project.name,
                record.Entry(
                    *(lock.now(), "found", container.release, container.image),
                    *(Outcome.FOUND, lock.who()),
                ),
            )


def release_before(project: compose.Project) -> str:
    """Return the latest release on record that is not the present one and has an image."""
    present = set(state.look(project).releases().values())
    images = release.available(project)
    for name in record.releases(project.name):
        if name in images and (name not in present or len(present) > 1):
            return name
    raise StackctlError(
        "there is no earlier release to go back to", "`./stackctl releases` lists what there is."
    )


def build(project: compose.Project, name: str, console: Console, interrupt: Interrupt) -> str:
    """Build the release's image and return its id; what compose starts stays as it is."""
    with console.step(f"building {name}"):
        image = project.build(
            release.image_of(project, name), name, console.detail, lambda: interrupt.asked
        )
    if interrupt.asked:
        raise InterruptedByUserError("interrupted while building; nothing was changed")
    return image


def is_running(project: compose.Project, image: str) -> bool:
    """Tell whether all of the application runs this image with the present configuration."""
    return all(project.runs(name, image) for name in (*project.servers, *project.workers))


def migrate_first(
    project: compose.Project, image: str, wish: Wish, console: Console, interrupt: Interrupt
) -> None:
    """Check the new release's migrations and apply them, before any server is touched."""
    with console.step("looking at its migrations"):
        plan = migrate.look(project, image, lint=True)
        migrate.gate(plan, allow_incompatible=wish.allow_incompatible, warn=console.warn)
    if interrupt.asked:
        raise InterruptedByUserError("interrupted before migrating; nothing was changed")
    if not plan.unapplied:
        return
    with console.step(f"migrating: {', '.join(plan.unapplied)}"):
        migrate.run(project, image, plan, console.detail)


def _roll(
    attempt: Attempt,
    balancer: haproxy.Balancer,
    console: Console,
    interrupt: Interrupt,
    limits: Limits,
    *,
    force: bool = False,
) -> None:
    project = attempt.project
    latest = engine.image_id(project.latest)
    roll = Roll(project, balancer, console, interrupt, limits)
    try:
        finished = roll.all(attempt.image, attempt.release, force=force)
    except (ServerFailedError, StackctlError) as error:
        reason = _show(error, console)
        _back(attempt, roll, latest, console, reason)
        raise RolledBackError(
            f"{attempt.action} of {attempt.release} failed: {reason}",
            "Every server is back on the release before, and serves.",
        ) from None
    if not finished:
        # What is left undone is not what the next `docker compose up` should start.
        engine.tag(latest, project.latest)
        attempt.note(Outcome.INTERRUPTED)
        raise InterruptedByUserError("interrupted; " + _who_runs_what(project), _next(attempt))
    attempt.note(Outcome.OK)
    console.good(f"every server runs {attempt.release}")


def _show(error: ServerFailedError | StackctlError, console: Console) -> str:
    """Show the failed container's last lines, and return what went wrong in one line."""
    if isinstance(error, StackctlError):
        return error.problem
    reason = f"{error.server}: {error.reason}"
    console.bad(reason)
    if error.log:
        console.say(f"the last lines of {error.server}:")
        console.lines("\n".join(error.log.splitlines()[-30:]))
    return reason


def _back(attempt: Attempt, roll: Roll, latest: str, console: Console, reason: str) -> None:
    try:
        roll.back()
        for server in roll.project.servers:
            roll.balancer.ready(server)
    except (ServerFailedError, StackctlError) as error:
        attempt.note(Outcome.FAILED, reason)
        why = _show(error, console)
        raise NotRolledBackError(
            f"{attempt.action} of {attempt.release} failed ({reason}), and so did the way back: "
            f"{why}",
            f"{_who_runs_what(roll.project)}.\nLook at `./stackctl status` and the log above; "
            "then ./stackctl ready SERVER, or ./stackctl rollback RELEASE.",
        ) from None
    finally:
        engine.tag(latest, roll.project.latest)
    attempt.note(Outcome.ROLLED_BACK, reason)


def _who_runs_what(project: compose.Project) -> str:
    releases = state.look(project).releases()
    return ", ".join(f"{server} runs {name}" for server, name in releases.items())


def _next(attempt: Attempt) -> str:
    return (
        "Every server is in service. ./stackctl deploy goes on, ./stackctl rollback RELEASE goes "
        "back; ./stackctl releases lists them."
    )


def _result(action: str, project: compose.Project, name: str, *, changed: bool) -> dict[str, Any]:
    return {
        "action": action,
        "project": project.name,
        "release": name,
        "changed": changed,
        "servers": state.look(project).releases(),
        "code": int(ExitCode.OK),
    }
