"""What must be right before anything is touched: all faults at once, each with its next step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ops.environment import faults as environment_faults
from ops.environment.check import ALL_SCOPES
from ops.environment.check import warnings as environment_warnings
from ops.environment.fault import Fault, with_explanations
from ops.environment.files import SUFFIX
from ops.environment.loader import find_dotenv
from ops.environment.names import near_misses
from ops.environment.render import GIVEN
from ops.environment.variable import LAYERS

from ..balancer import certificate
from ..common import process
from ..common.faults import StackctlError
from ..common.outputs import fields
from ..docker import compose, engine, journal
from ..inside.passwords import DB, REDIS
from . import ports
from .check import Check
from .variables import layer_of_stack, variable

INFO: Final = ("docker", "info", "--format", "{{json .}}")
COMPOSE_VERSION: Final = ("docker", "compose", "version", "--short")
BUILDX_VERSION: Final = ("docker", "buildx", "version")
ENGINE: Final = (25,)
# It chooses a network's IPv6 addresses by itself.
IPV6_ENGINE: Final = (27,)
COMPOSE: Final = (2, 30)
# Room for two releases' images and a build's cache.
DISK_BYTES: Final = 2 * 10**9

# git writes all files under the same umask (027, 077), so two show it: one that a container
# mounts, and one that is in the images.
SAMPLES: Final = ("haproxy/haproxy.cfg", "supervisor/entrypoint")
# Nothing that git ignores, such as .env.
READABLE: Final = """git ls-files -z | xargs -0 chmod a+rX
git ls-tree -d -r -z --name-only HEAD | xargs -0 chmod a+rx"""

_DESKTOP = "Docker Desktop: start the application"


def examine(command: str = "up") -> tuple[list[Check], compose.Project | None]:
    """Run all checks; also return the project if compose can read it.

    Args:
        command: the stackctl command to run once they pass, for the next steps.
    """
    layer = layer_of_stack()
    client = _client()
    if not client.ok:
        return [client, _environment(layer, None), _disk("")], None
    answers = process.run_all(INFO, COMPOSE_VERSION, BUILDX_VERSION, compose.CONFIG, seconds=30)
    daemon, root = _engine(answers[0])
    plugins = [_compose(answers[1]), _buildx(answers[2])]
    checks = [daemon, *plugins, _readable()]
    project: compose.Project | None = None
    if plugins[0].ok:
        try:
            project = compose.read(layer, answers[3])
        except StackctlError as error:
            # The environment's check reports a misspelt layer, and better.
            if layer in LAYERS:
                checks.append(Check("compose files", problem=error.problem, hint=error.hint))
    checks.append(_environment(layer, project))
    if project is not None:
        checks += ports.examine(project, command, engine_answers=daemon.ok)
        if daemon.ok:
            checks += refused_passwords(project)
        if daemon.ok and journal.has_logs_of(project):
            checks.append(journal_check(root))
        if project.tls and daemon.ok:
            checks.append(_certificate(project))
    checks.append(_disk(root))
    return checks, project


def require(command: str) -> compose.Project:
    """Return the project once every check passes.

    Args:
        command: the stackctl command that needs it, for the next steps.

    Raises:
        StackctlError: a check failed; it names all that did.
    """
    checks, project = examine(command)
    failed = [check for check in checks if not check.ok]
    if failed or project is None:
        raise StackctlError(*_message(failed))
    return project


def _message(failed: list[Check]) -> tuple[str, str]:
    count = "1 fault" if len(failed) == 1 else f"{len(failed)} faults"
    lines = []
    for check in failed:
        lines.append(f"{check.name}: {check.problem}")
        lines += [f"    {line}" for line in check.hint.splitlines()]
    return f"nothing was done: {count}", "\n".join(lines)


def _readable() -> Check:
    """Return whether the containers' users, who are not this one, can read the project's files."""
    for path in (process.ROOT / name for name in SAMPLES):
        if not path.stat().st_mode & 0o004 or not path.parent.stat().st_mode & 0o001:
            return Check(
                "project files",
                problem=f"{path.relative_to(process.ROOT)} cannot be read by other users (a umask "
                "of 027 or 077?), and the containers' users are others",
                hint=READABLE,
            )
    return Check("project files", "readable by the containers' users")


def _client() -> Check:
    if shutil.which("docker"):
        return Check("docker", "installed")
    return Check(
        "docker",
        problem="Docker is not installed (there is no `docker` on the PATH)",
        hint=f"Install Docker Engine 25 or newer, or Docker Desktop: {engine.INSTALL}",
    )


def _engine(result: process.Result) -> tuple[Check, str]:
    """Return whether the daemon answers, and where it keeps its data, if it says so."""
    info = fields(result.out)
    version = str(info.get("ServerVersion") or "")
    if not result.ok or not version:
        errors = "\n".join([*(info.get("ServerErrors") or []), result.err.strip()]).strip()
        return _no_engine(errors), ""
    if engine.version_numbers(version) < ENGINE:
        problem = f"Engine {version} is too old: {_dotted(ENGINE)} or newer is needed"
        hint = f"Upgrade Docker: {engine.INSTALL}"
        return Check("engine", problem=problem, hint=hint), ""
    if variable("HTTP_IPV6_ADDRESS") and engine.version_numbers(version) < IPV6_ENGINE:
        needed = f"HTTP_IPV6_ADDRESS needs Engine {_dotted(IPV6_ENGINE)} or newer"
        hint = (
            f"Upgrade Docker: {engine.INSTALL}. Or empty the variable in .env: visitors then come "
            "by IPv4 alone."
        )
        return Check("engine", problem=f"{needed}, and this is {version}", hint=hint), ""
    return Check("engine", f"Engine {version}"), info.get("DockerRootDir") or ""


def _no_engine(errors: str) -> Check:
    if "permission denied" in errors.lower():
        return Check(
            "engine",
            problem="this user may not talk to the Docker daemon (permission denied)",
            hint="sudo usermod -aG docker $USER, then log in again. "
            "The group docker is as good as root.",
        )
    if "context" in errors and "not found" in errors:
        return Check("engine", problem=errors, hint="docker context use default")
    detail = f" ({errors.splitlines()[0]})" if errors else ""
    return Check(
        "engine",
        problem=f"the Docker daemon is not running{detail}",
        hint=f"Linux: sudo systemctl start docker. {_DESKTOP}. "
        "Elsewhere, DOCKER_HOST or `docker context ls` shows which one is used.",
    )


def _compose(result: process.Result) -> Check:
    hint = "Install the Compose plugin: https://docs.docker.com/compose/install/"
    if not result.ok:
        problem = f"Compose {_dotted(COMPOSE)} or newer is needed, and none is installed"
        return Check("compose", problem=problem, hint=hint)
    version = result.out.strip()
    if engine.version_numbers(version) < COMPOSE:
        problem = f"Compose {version} is too old: {_dotted(COMPOSE)} or newer is needed"
        return Check("compose", problem=problem, hint=hint)
    return Check("compose", f"Compose {version}")


def _buildx(result: process.Result) -> Check:
    if result.ok:
        words = result.out.split()
        return Check("buildx", f"Buildx {words[1]}" if len(words) > 1 else "Buildx")
    return Check(
        "buildx",
        problem="the Buildx plugin is missing, and images cannot be built without it",
        hint="Install it: https://github.com/docker/buildx#installing",
    )


def warnings(project: compose.Project) -> list[Fault]:
    """Return what lets the stack start, but not be used."""
    own = {**find_dotenv(os.environ, project.layer, process.ROOT).values, **os.environ}
    return environment_warnings({**own, **_given_by_compose(own, project)}, project.layer)


def _environment(layer: str, project: compose.Project | None) -> Check:
    dotenv = find_dotenv(os.environ, layer, process.ROOT)
    own: dict[str, str] = {**dotenv.values, **os.environ}
    given = _given_by_compose(own, project)
    environ = {**own, **given}
    errors = environment_faults(environ, layer if layer in LAYERS else "production", dotenv=dotenv)
    # A file that only an override file names is in the container, where env-check reads it.
    mounted = {name for name in given if name.endswith(SUFFIX) and not own.get(name)}
    errors = [fault for fault in errors if fault.name not in mounted]
    # Once more without compose's defaults, which hide that the right name is not set.
    errors = with_explanations(errors, near_misses(own, dotenv.values, ALL_SCOPES))
    if layer not in LAYERS:
        # What another layer would want is of no use to a user who misspelt this one.
        errors = [fault for fault in errors if fault.name == "LAYER"]
    if not errors:
        return Check("environment", f"valid for the {layer} layer")
    count = "1 fault" if len(errors) == 1 else f"{len(errors)} faults"
    return Check(
        "environment",
        problem=f"not valid for the {layer} layer: {count}",
        hint="\n".join(map(str, errors)),
    )


def _certificate(project: compose.Project) -> Check:
    try:
        return Check("certificate", certificate.check(project))
    except StackctlError as error:
        return Check("certificate", problem=error.problem, hint=error.hint)


def journal_check(root: str) -> Check:
    """Return whether a journal receives logs, where the engine runs on this machine."""
    if not Path(root or "-").is_dir() or journal.answers():
        return Check("log driver", "journald")
    return Check(
        "log driver",
        problem=f"LOG_DRIVER is journald, and nothing listens at {journal.SOCKET}",
        hint="sudo systemctl start systemd-journald. On a system without systemd, remove "
        "LOG_DRIVER from .env.",
    )


def refused_passwords(project: compose.Project) -> list[Check]:
    """Return the passwords that a server of the stack refuses, as after a change by hand."""
    checks = []
    for password in (DB, REDIS):
        value = project.secret(password.variable)
        try:
            # Without a value it comes from a file that this user cannot read.
            if not value or not password.is_own(project) or password.accepts(project, value):
                continue
        except StackctlError:
            # It is down, which is another check's to say.
            continue
        name = password.variable
        checks.append(
            Check(
                name,
                problem=f"{password.service} refuses it: the variable was changed, the password in "
                "the server was not",
                hint=f"./stackctl rotate {password.name} sets the server's password to it; or "
                "restore the former value.",
            )
        )
    return checks


def _given_by_compose(
    environ: Mapping[str, str], project: compose.Project | None
) -> Mapping[str, str]:
    """Return what the containers would be given on top, as their own check will see it."""
    if project is not None and compose.ENV_CHECK in project.services:
        return project.environment(compose.ENV_CHECK)
    return {
        name: text
        for name, text in GIVEN.items()
        if not (environ.get(name) or environ.get(f"{name}_FILE"))
    }


def _disk(root: str) -> Check:
    # On Docker Desktop the engine's directory lies in its own machine; here counts what is here.
    place = Path(root) if root and Path(root).is_dir() else process.ROOT
    free = shutil.disk_usage(place).free
    if free >= DISK_BYTES:
        return Check("disk", f"{free / 10**9:.1f} GB free")
    return Check(
        "disk",
        problem=f"{free / 10**9:.1f} GB free at {place}; {DISK_BYTES / 10**9:.0f} GB are needed",
        hint="`docker system df` shows what the engine holds; `docker builder prune` frees it.",
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
