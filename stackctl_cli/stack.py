"""The whole stack: start it, stop it, look at all that it needs."""

from __future__ import annotations

import shutil
from typing import Any

from . import compose, deploy, engine, lock, preflight, record, release, state
from .answers import get
from .console import Console
from .faults import ExitCode, StackctlError
from .interrupt import Interrupt
from .preflight import Check
from .record import Outcome


def load() -> compose.Project:
    """Return the project, for commands that need no more than a look.

    Raises:
        StackctlError: docker is not there, or compose cannot read the project.
    """
    if not shutil.which("docker"):
        raise StackctlError("Docker is not installed", f"Install it: {engine.INSTALL}")
    return compose.load(preflight.layer_of_stack())


def up(console: Console, *, build: bool) -> dict[str, Any]:
    """Start the stack with the present release; build it first where there is none.

    Raises:
        StackctlError: something is not right for a start, or a service does not come up.
    """
    with console.step("checking this machine"):
        project = preflight.require()
    with lock.held(project.name, "up"):
        if build or not engine.image_id(project.latest):
            _build(project, console)
        keep = not build and _would_notice(project, console)
        with console.step(f"starting {project.name}"):
            result = project.up(console.detail, recreate=not keep)
        if not result.ok:
            raise StackctlError(
                "the stack did not start", _culprits(project), output=_last(result.out, 10)
            )
        deploy.remember_present(project)
    for server in state.look(project).servers.values():
        if server.state is not state.ServerState.READY:
            console.warn(f"{server.name} is {server.state}: {_way_back(server)}")
    console.good(project.site().url)
    return {**state.look(project).as_dict(), "code": int(ExitCode.OK)}


def _would_notice(project: compose.Project, console: Console) -> bool:
    """Tell whether a plain start would replace running servers, all at once.

    After a release that was cut off compose's image may be one that no server was checked with;
    the one that runs is given its name back, so that what is down comes up with that.
    """
    servers = [c for name, c in project.containers().items() if name in project.servers]
    running = [container for container in servers if container.running]
    images = {container.image for container in running}
    if len(images) == 1 and engine.image_id(project.latest) not in images:
        engine.tag(images.pop(), project.latest)
        console.warn(f"a release was cut off; {running[0].release} runs, and is started")
    other = [c.service for c in running if not project.runs(c.service, c.image)]
    if len(images) > 1 or other:
        console.warn(
            "the running servers keep their present release and configuration; ./stackctl deploy "
            "brings the new one, one server after the other"
        )
        return True
    return False


def down(console: Console, *, volumes: bool) -> dict[str, Any]:
    """Stop the stack; its data goes only if told."""
    project = load()
    with lock.held(project.name, "down"):
        with console.step(f"stopping {project.name}"):
            result = project.down(console.detail, volumes=volumes)
        if not result.ok:
            raise StackctlError(
                "the stack did not stop",
                "The last lines are above; `./stackctl doctor` looks further.",
                output=_last(result.out, 30),
            )
    return {"project": project.name, "running": False, "volumes_removed": volumes}


def doctor(console: Console) -> dict[str, Any]:
    """Look at the machine and at the stack; exit code 1 when something is wrong."""
    checks, project = preflight.examine()
    if project is not None and next(check.ok for check in checks if check.name == "engine"):
        checks += _stack_checks(project)
    for check in checks:
        if check.ok:
            console.good(f"{check.name}: {check.fact}")
        else:
            console.bad(f"{check.name}: {check.problem}")
            console.lines(check.cure)
    wrong = [check for check in checks if not check.ok]
    return {
        "checks": [
            {"name": c.name, "ok": c.ok, "fact": c.fact, "problem": c.problem, "next": c.cure}
            for c in checks
        ],
        "code": int(ExitCode.REFUSED if wrong else ExitCode.OK),
    }


def _stack_checks(project: compose.Project) -> list[Check]:
    seen = state.look(project)
    if not seen.containers:
        return [Check("stack", f"{project.name} is not up")]
    checks = []
    for server in seen.servers.values():
        if server.state is state.ServerState.READY:
            checks.append(Check(server.name, f"ready, release {server.as_dict()['release']}"))
        else:
            says = server.balancer.status if server.balancer else "nothing"
            checks.append(
                Check(
                    server.name,
                    problem=f"{server.state}; HAProxy says {says}",
                    cure=_way_back(server),
                )
            )
    if len(set(seen.releases().values())) > 1:
        mixed = ", ".join(f"{server} {name}" for server, name in seen.releases().items())
        checks.append(
            Check(
                "releases",
                problem=f"the servers differ: {mixed}",
                cure="./stackctl deploy goes on, ./stackctl rollback RELEASE goes back",
            )
        )
    if seen.running:
        checks.append(_site(project))
    return checks


def _way_back(server: state.ServerStatus) -> str:
    if server.balancer and server.balancer.drained_by_hand:
        return f"./stackctl ready {server.name}"
    return f"docker compose logs --tail 30 {server.name}; ./stackctl up starts what has ended"


def _site(project: compose.Project) -> Check:
    site = project.site()
    status, body = get(site, "localhost", "/readyz")
    if status == 200:
        return Check("site", f"answers on port {site.port}")
    return Check(
        "site",
        problem=f"/readyz on port {site.port} answers {status or body}",
        cure="docker compose logs --tail 30 haproxy",
    )


def _build(project: compose.Project, console: Console) -> None:
    try:
        name = release.from_git().text
    except StackctlError:
        name = "unreleased"
    interrupt = Interrupt()
    with interrupt.noted(console.warn):
        image = deploy.build(project, name, console, interrupt)
    engine.tag(image, project.latest)
    record.append(
        project.name,
        record.Entry(lock.now(), "up", name, image, Outcome.OK, lock.who()),
    )


def _culprits(project: compose.Project) -> str:
    """Return the last lines of each container that ended badly or is not healthy."""
    lines = []
    for name, container in sorted(project.containers().items()):
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
