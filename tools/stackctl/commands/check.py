"""A throw-away stack of this tree, and what a browser finds wrong on its pages.

Project, volumes, networks, images, ports and secrets are the check's own: a stack that runs, its
data and .env stay as they are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ops.environment import dotenv
from ops.environment.contract import PROJECT, VARIABLES
from ops.environment.files import SUFFIX, text_of

from ..checks import preflight
from ..checks.variables import variable
from ..common import outputs, process
from ..common.console import Console
from ..common.faults import ExitCode, StackctlError
from ..common.interrupt import Interrupt
from ..crawl.findings import Finding, Where, findings, lines, queries
from ..docker import compose, engine
from . import stack

NAME: Final = "check-" + hashlib.sha256(str(process.ROOT).encode()).hexdigest()[:8]
SCRIPT: Final = Path(__file__).parents[1] / "inside/site.py"
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
# The stack's variables that .env decides here too, as it does all of the project's own.
CHOSEN: Final = {
    *("DB_ENGINE", "BROKER", "APP_SERVER", "WEB_CONCURRENCY", "REQUEST_SECONDS", "TASK_SECONDS"),
    *("APP_MEMORY", "DB_MEMORY", "CSP_MODE", "UPLOAD_MAX_MB"),
    *("DJANGO_LANGUAGE_CODE", "DJANGO_TIME_ZONE", "DJANGO_READ_DOTENV"),
    *(variable.name for variable in PROJECT),
}
# Beyond the crawl's own seconds: the browser's start, and a page that is on its way.
CRAWL_MARGIN = 120
SHORT = 5


@dataclass(frozen=True)
class Bounds:
    """How far a crawl goes."""

    pages: int
    seconds: int
    sign_in: bool


def check(console: Console, bounds: Bounds) -> dict[str, Any]:
    """Build this tree, start it on a new database, and crawl it; exit code 1 where it has faults.

    Raises:
        StackctlError: there is no engine or browser, or the stack does not start.
    """
    browser = find_browser(console)
    os.environ.update(environment())
    project = preflight.require("check")
    started = time.monotonic()
    with alone(), removed(console):
        stack.up(console, build=True)
        with console.step("visiting the pages"):
            site = inside(project, "start", sign_in=bounds.sign_in)
            crawled = crawl(console, project, bounds, site, browser)
        findings = located(project, site, crawled["events"])
    if refused := site.get("refused"):
        console.warn(f"no page was visited as a superuser, who cannot be created: {refused}")
    if crawled["left"]:
        console.warn(f"{crawled['left']} pages were not visited: --pages and --seconds are limits")
    return report(console, findings, crawled["pages"], time.monotonic() - started)


def report(
    console: Console, findings: Sequence[Finding], pages: int, seconds: float
) -> dict[str, Any]:
    """Print the findings, and return them for scripts.

    Args:
        console: where they are printed.
        findings: the findings.
        pages: how many pages were visited.
        seconds: how long the check took.
    """
    for one in findings if not console.as_json else ():
        for line in lines(one):
            console.out.print(line, markup=False, soft_wrap=True)
    faults = "1 fault" if len(findings) == 1 else f"{len(findings) or 'no'} faults"
    (console.bad if findings else console.good)(f"{faults} on {pages} pages ({seconds:.0f} s)")
    return {
        "pages": pages,
        "findings": [one.as_dict() for one in findings],
        "code": int(ExitCode.REFUSED if findings else ExitCode.OK),
    }


def find_browser(console: Console) -> str:
    """Return this machine's Chromium; its driver is installed at the first call.

    Raises:
        StackctlError: there is none, or the driver cannot be installed.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), "")
    if not browser:
        raise StackctlError(
            f"no Chromium is installed (there is none of {', '.join(BROWSERS)} on the PATH)",
            "Install it, on Debian and Ubuntu: apt-get install chromium",
        )
    if not find_spec("playwright"):
        with console.step("installing requirements/check.txt into .venv"):
            done = process.run("requirements/install", "check", seconds=compose.BUILD_SECONDS)
        if not done.ok:
            raise StackctlError("the browser's driver is not installed", done.text())
    return browser


def environment() -> dict[str, str]:
    """Return the variables of the throw-away stack; an empty one hides a line of .env."""
    hidden = {name: "" for name in VARIABLES if name not in CHOSEN}
    hidden |= {
        f"{one.name}{SUFFIX}": "" for one in VARIABLES.values() if one.secret and one.name in hidden
    }
    made = {one.name: secrets.token_urlsafe(50) for one in VARIABLES.values() if one.sample}
    return {
        **hidden,
        **made,
        "STACK_NAME": NAME,
        "LAYER": "production",
        "COMPOSE_PROJECT_NAME": f"{NAME}-production",
        "HTTP_ADDRESS": "127.0.0.1",
        **dict(zip(("HTTP_PORT", "STATS_PORT"), free_ports(2), strict=True)),
        "DJANGO_ALLOWED_HOSTS": "localhost,127.0.0.1",
        "DJANGO_SECURE_SSL_REDIRECT": "false",
        # One browser is all visitors.
        "THROTTLE_ANON": "100000/minute",
        "THROTTLE_USER": "100000/minute",
    }


def free_ports(count: int) -> list[str]:
    """Return `count` TCP ports of this machine that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def alone() -> Iterator[None]:
    """Refuse a second check of this folder, whose stack would be the same.

    Raises:
        StackctlError: another one runs.
    """
    with Path(__file__).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StackctlError(
                "another check of this folder runs", "Wait until it has ended, then try again."
            ) from None
        yield


@contextmanager
def removed(console: Console) -> Iterator[None]:
    """Remove what a killed check left, and all of this one however it ends."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    remove()
    try:
        yield
    finally:
        words = "interrupted: removing the throw-away stack first"
        with (
            Interrupt().noted(lambda _: console.warn(words)),
            console.step("removing the throw-away stack"),
        ):
            remove()


def remove() -> None:
    """Remove the stack with its data and images; what they are made of stays in the build cache.

    Raises:
        StackctlError: the engine cannot remove them.
    """
    down = ("compose", "down", "--volumes", "--remove-orphans", "--timeout", "0")
    engine.docker(*down, seconds=compose.RECREATE_SECONDS)
    for name in ("base", "production"):
        for tag in engine.tags(f"{NAME}-{name}"):
            engine.untag(f"{NAME}-{name}:{tag}")


def crawl(
    console: Console, project: compose.Project, bounds: Bounds, site: dict[str, Any], browser: str
) -> dict[str, Any]:
    """Let the browser visit the pages; return what it saw.

    Raises:
        StackctlError: the browser failed.
    """
    mark = outputs.mark()
    plan = {
        "mark": mark,
        "url": project.site().url,
        "browser": browser,
        "paths": list(dict.fromkeys(("/", "/admin/", *site["paths"]))),
        "cookie": site["cookie"],
        "pages": bounds.pages,
        "seconds": bounds.seconds,
        "request_seconds": request_seconds(),
    }
    seen = process.follow(
        *(sys.executable, "-m", "tools.stackctl.crawl.browser"),
        on_line=lambda line: None if line.startswith(mark) else console.detail(line),
        stdin=json.dumps(plan),
        seconds=bounds.seconds + request_seconds() + CRAWL_MARGIN,
    )
    if not seen.ok:
        raise StackctlError(
            "the browser ended", "Does it start by hand? " + browser, output=seen.out[-2000:]
        )
    with outputs.read("the browser"):
        crawled: dict[str, Any] = outputs.marked(seen.out, mark)
        return crawled


def request_seconds() -> int:
    """Return REQUEST_SECONDS, in seconds."""
    return int(variable("REQUEST_SECONDS"))


def located(
    project: compose.Project, site: dict[str, Any], events: list[dict[str, Any]]
) -> list[Finding]:
    """Return the findings, with the lines of code that the containers have.

    Raises:
        StackctlError: as `inside`.
    """
    context = Path(project.services[compose.ENV_CHECK]["build"]["context"])
    adopted = context != process.ROOT
    prefix = f"{os.path.relpath(context, process.ROOT)}/" if adopted else ""
    where = Where(
        origin=project.site().url.rstrip("/"),
        static=site["static"],
        rules=site["rules"],
        seconds=request_seconds(),
        root="/srv/app/" if adopted else "/srv/project/",
        prefix=prefix,
        tracebacks=tracebacks(project),
    )
    questions = [queries(event, where) for event in events]
    places = inside(project, "locate", queries=questions, prefix=prefix)
    return findings(events, places, where)


def inside(project: compose.Project, action: str, **given: Any) -> Any:
    """Run `inside/site.py` in a server's container, and return its answer.

    Raises:
        StackctlError: it failed, or its answer cannot be read.
    """
    mark = outputs.mark()
    container = project.containers()[project.servers[0]].id
    script = SCRIPT.read_text(encoding="utf-8")
    command = ("python3", "-c", script, mark, action)
    done = engine.execute(container, *command, stdin=json.dumps(given))
    if not done.ok:
        raise StackctlError("the project could not be asked", output=done.text()[-2000:])
    with outputs.read("inside/site.py"):
        return outputs.marked(done.out, mark)


def tracebacks(project: compose.Project) -> dict[str, str]:
    """Return the exceptions in the servers' logs, by their request's id.

    Raises:
        StackctlError: the engine does not answer.
    """
    result = {}
    for server in project.servers:
        log = process.run("docker", "compose", "logs", "--no-log-prefix", server).out
        for line in map(outputs.fields, log.splitlines()):
            if line.get("exception") and line.get("request_id"):
                result[str(line["request_id"])] = without_secrets(str(line["exception"]))
    return result


def without_secrets(text: str) -> str:
    """Put their names in place of the values of your own secret variables, as they are in .env."""
    environ = {**dotenv.read(process.ROOT / ".env").values, **os.environ}
    for one in PROJECT:
        value = text_of(one, environ) if one.secret else ""
        # A shorter one is part of too many words.
        if isinstance(value, str) and len(value) > SHORT:
            text = text.replace(value, f"<{one.name}>")
    return text
