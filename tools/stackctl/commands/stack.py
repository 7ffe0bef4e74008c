"""The whole stack: start, stop, and check it."""

from __future__ import annotations

import shutil
import time
from typing import Any

from ops.environment.variable import LAYERS

from ..checks import backups, parts, preflight, state
from ..checks.answers import get
from ..checks.check import Check
from ..checks.variables import layer_of_stack
from ..common import process
from ..common.console import Console
from ..common.faults import ExitCode, StackctlError
from ..common.interrupt import Interrupt
from ..docker import compose, engine, lock
from ..inside import passwords
from ..releases import deploy, rebuild, release
from ..releases.attempt import Attempt
from ..releases.record import Outcome
from ..remote import restic
from . import images

# Docker marks a container healthy again after one good check, which runs every 5 s.
RECOVERY_SECONDS = 20.0
POLL_SECONDS = 0.5


def load() -> compose.Project:
    """Return the project, for commands that only read.

    Raises:
        StackctlError: docker is missing, or compose cannot read the project.
    """
    if not shutil.which("docker"):
        raise StackctlError("Docker is not installed", f"Install it: {engine.INSTALL}")
    return compose.load(layer_of_stack())


def up(console: Console, *, build: bool) -> dict[str, Any]:
    """Start the stack with the present release; build it first where there is none.

    Raises:
        StackctlError: something is not right for a start, or a service does not come up.
    """
    with console.step("checking this machine"):
        project = preflight.require("up")
    for warning in preflight.warnings(project):
        console.warn(str(warning))
    with lock.held(project, "up"):
        kept = [] if build else _kept(project, console)
        attempt = None
        if build or not engine.image_id(project.latest):
            attempt = make_image(project, console)
        images.build_missing(project, console)
        with console.step(f"starting {project.name}"):
            result = _start(project, console, recreate=not kept)
        if attempt:
            _note(attempt, started=result.ok)
        if not result.ok:
            for check in preflight.refused_passwords(project):
                raise StackctlError(f"{check.name}: {check.problem}", check.hint)
            raise StackctlError(
                "the stack did not start", culprits(project), output=_last(result.out, 10)
            )
        deploy.remember_present(project)
    seen = state.glance(project)
    if seen.silent:
        console.warn(seen.silent.problem)
    for server in seen.servers.values():
        if not parts.is_in_service(server, seen):
            healthy = server.state is state.ServerState.HEALTHY
            words = "gets no requests yet" if healthy else f"is {server.state}"
            console.warn(f"{server.name} {words}: {parts.remedy(server, seen)}")
    if compose.BALANCER not in kept:
        console.good(project.site().url)
    return {**seen.as_dict(), "code": int(ExitCode.OK)}


def _start(project: compose.Project, console: Console, *, recreate: bool) -> process.Result:
    """Start what is down, and wait until all is healthy.

    Compose fails at once on a container that is unhealthy, such as HAProxy while its servers were
    stopped. So what was unhealthy before gets the time for its next health checks.
    """
    unhealthy = {
        name: container.name
        for name, container in project.containers().items()
        if container.running and container.health == "unhealthy"
    }
    if not recreate:
        _remove_ended(project)
    result = project.up(console.detail, recreate=recreate)
    if result.ok or not any(f"{name} is unhealthy" in result.out for name in unhealthy.values()):
        return result
    deadline = time.monotonic() + RECOVERY_SECONDS
    while time.monotonic() < deadline:
        present = project.containers()
        if all(name not in present or present[name].health == "healthy" for name in unhealthy):
            return project.up(console.detail, recreate=recreate)
        time.sleep(POLL_SECONDS)
    return result


def _remove_ended(project: compose.Project) -> None:
    """Remove ended containers of another configuration, which compose would start as they are.

    Such as that of the migrations, with a password from before a rotation. Only the application's,
    which keep no data.
    """
    hashes = project.config_hashes()
    application = (*project.servers, *project.workers, compose.MIGRATE, compose.ENV_CHECK)
    ended = [
        container.id
        for container in engine.containers(project.name)
        if container.service in application
        and container.status in ("exited", "created", "dead")
        and container.config_hash != hashes.get(container.service, container.config_hash)
    ]
    if ended:
        engine.remove(*ended)


def _kept(project: compose.Project, console: Console) -> list[str]:
    """Return what runs and a plain start would replace, which visitors would notice.

    Each is named with what brings it its present configuration.
    """
    running = {name: c for name, c in project.containers().items() if c.running}
    servers = [running[name] for name in project.servers if name in running]
    images = {container.image for container in servers}
    if len(images) == 1 and engine.image_id(project.latest) not in images:
        _start_running_release(project, servers[0], console)
    hashes = project.config_hashes()
    other = [c.service for c in servers if c.config_hash != hashes.get(c.service)]
    around = []
    for name in (*compose.PROXIES, *compose.BACKING):
        current = running.get(name)
        service = project.services.get(name, {"scale": 0})
        if current is None or service.get("scale") == 0:
            continue
        image = engine.image_id(str(service.get("image", "")))
        if current.config_hash != hashes.get(name) or (image and current.image != image):
            around.append(name)
            if passwords.is_rotated(project, current):
                continue
            step = project.step_before_recreating(name, running) + compose.recreate_command(name)
            console.warn(
                f"{name} keeps its configuration or image; {step} "
                "applies the new one, with a short interruption"
            )
    if len(images) <= 1 and not other:
        return around
    # Last: this command may need what the other warnings name.
    command = "deploy" if len(images) > 1 else "apply"
    console.warn(
        f"the running servers keep their release and configuration until ./stackctl {command} "
        "replaces them, without failed requests"
    )
    return [c.service for c in servers] + around


def _start_running_release(
    project: compose.Project, running: engine.Container, console: Console
) -> None:
    """Give compose's name back to the image that runs, so that what is down comes up with that.

    The other one is of a release that was cut off, and no server was checked with it; or a
    user built it, and it may have no other name.
    """
    other = release.keep_latest(project)
    engine.tag(running.image, project.latest)
    if other:
        console.warn(
            f"{project.latest} is not the release that runs: a deploy was interrupted, or an "
            f"image was built without stackctl. {running.release} runs, and is started; the other "
            f"one is kept as "
            f"{release.image_of(project, other)}. ./stackctl deploy builds and deploys "
            "this tree, without failed requests"
        )


def down(console: Console, *, volumes: bool) -> dict[str, Any]:
    """Stop the stack; its data is removed only with `volumes`.

    Raises:
        StackctlError: it did not stop, or another command holds the lock.
    """
    project = load()
    with lock.held(project, "down"):
        with console.step(f"stopping {project.name}"):
            result = project.down(console.detail, volumes=volumes)
        if not result.ok:
            raise StackctlError(
                "the stack did not stop",
                "The last lines are above; `./stackctl doctor` checks further.",
                output=_last(result.out, 30),
            )
    if volumes:
        # The lock, which had to end first, mounts it.
        lock.remove(project)
        restic.remove_cache(project)
    return {"project": project.name, "running": False, "volumes_removed": volumes}


def adopt(console: Console) -> dict[str, Any]:
    """Make this folder the stack's, whichever it belonged to.

    Raises:
        StackctlError: the project cannot be read, or another command holds the lock.
    """
    project = load()
    with lock.held(project, "adopt", adopt=True) as before:
        pass
    console.good(f"{project.name} belongs to {process.ROOT} now")
    if before:
        console.say(
            f"the running containers still mount {before}; keep that folder until ./stackctl "
            f"deploy (servers) "
            f"and {compose.recreate_command(compose.BALANCER)} have run here"
        )
    return {"project": project.name, "folder": str(process.ROOT), "before": before}


def doctor(console: Console) -> dict[str, Any]:
    """Check the machine and the stack; exit code 1 when something is wrong."""
    checks, project = preflight.examine()
    if project is not None and next(check.ok for check in checks if check.name == "engine"):
        checks += _stack_checks(project)
    if project is not None and project.layer in LAYERS:
        warnings = preflight.warnings(project)
        checks += [Check(w.name, problem=w.problem, hint=w.hint) for w in warnings]
    for check in checks:
        if check.ok:
            console.good(f"{check.name}: {check.fact}")
        else:
            console.bad(f"{check.name}: {check.problem}")
            console.lines(check.hint)
    failed = [check for check in checks if not check.ok]
    return {
        "checks": [check.as_dict() for check in checks],
        "code": int(ExitCode.REFUSED if failed else ExitCode.OK),
    }


def _stack_checks(project: compose.Project) -> list[Check]:
    seen = state.glance(project)
    if not seen.containers:
        return [Check("stack", f"{project.name} is not started; next step: ./stackctl up")]
    checks = parts.examine(seen)
    if owner := lock.other_owner(project):
        error = lock.foreign(project, owner)
        checks.append(Check("owner", problem=error.problem, hint=error.hint))
    checks += [_copies(project, name, count) for name, count in project.copies().items()]
    if len(set(seen.releases().values())) > 1:
        mixed = ", ".join(f"{server} {name}" for server, name in seen.releases().items())
        checks.append(
            Check(
                "releases",
                problem=f"servers and workers run different releases: {mixed}",
                hint="./stackctl deploy resumes, ./stackctl rollback RELEASE goes back",
            )
        )
    checks += backups.examine(project)
    balancer = seen.containers.get(compose.BALANCER)
    if balancer is not None and balancer.status == "running":
        checks.append(_site(project, balancer, well=all(check.ok for check in checks)))
    return checks


def _copies(project: compose.Project, service: str, count: int) -> Check:
    hint = f"docker compose up --detach --no-deps --scale {service}=1 {service}"
    if service in project.servers:
        # Compose could remove the one that serves.
        hint = "./stackctl deploy or ./stackctl rollback removes those that get no requests"
    if service in project.workers:
        hint += "; WORKER_CONCURRENCY has one worker do more at a time"
    return Check(
        service,
        problem=f"it has {count} containers, and stackctl uses one of each service; the next "
        "release leaves as many as the compose files say",
        hint=hint,
    )


def _site(project: compose.Project, balancer: engine.Container, *, well: bool) -> Check:
    site = project.site()
    if site.port not in balancer.published:
        return Check(
            "site",
            problem=f"HAProxy does not publish port {site.port}, where .env has the site",
            hint=f"{compose.recreate_command(compose.BALANCER)} publishes it, with a "
            "short interruption",
        )
    status, body = get(site, "localhost", "/readyz")
    if status == 200:
        return Check("site", f"answers on port {site.port}")
    return Check(
        "site",
        problem=f"/readyz on port {site.port} answers {status or body}",
        hint="docker compose logs --tail 30 haproxy"
        if well
        else "See the parts above first; ./stackctl up starts what is down.",
    )


def make_image(project: compose.Project, console: Console) -> Attempt:
    """Build this tree as what compose starts; what becomes of it is for the record.

    Raises:
        StackctlError, InterruptedByUserError: as `deploy.build`.
    """
    release.keep_running_images(project)
    try:
        name = rebuild.named(project, "", pull=False).text
    except StackctlError:
        name = "unreleased"
    interrupt = Interrupt()
    with interrupt.noted(console.warn):
        image = deploy.build(project, name, console, interrupt)
    engine.tag(image, project.latest)
    return Attempt(project, "up", name, console, image)


def _note(attempt: Attempt, *, started: bool) -> None:
    """Put a build on record: only one that the servers were well with is a target for rollbacks."""
    project = attempt.project
    containers = project.containers()
    images = {containers[name].image for name in project.servers if name in containers}
    if not started:
        attempt.note(Outcome.FAILED, "the stack did not start")
    elif images == {attempt.image}:
        attempt.note(Outcome.OK)


def culprits(project: compose.Project, *only: str) -> str:
    """Return the last lines of each container, or of these, that ended badly or is not healthy.

    Raises:
        StackctlError: the engine does not answer.
    """
    lines = []
    for name, container in sorted(project.containers().items()):
        if only and name not in only:
            continue
        one_shot = name in (compose.MIGRATE, compose.ENV_CHECK, compose.CERTIFICATES)
        done = one_shot and container.status == "exited"
        if done and not engine.exit_code(container.id):
            continue
        if container.status in ("created", "running") and container.health in ("healthy", "none"):
            continue
        lines.append(f"{name} is {container.status}, {container.health}; its last lines:")
        lines += [f"    {line}" for line in engine.last_lines(container.id, 15).splitlines()]
    return "\n".join(lines) or "`docker compose ps --all` shows what is there."


def _last(text: str, count: int) -> str:
    return "\n".join(text.splitlines()[-count:])
