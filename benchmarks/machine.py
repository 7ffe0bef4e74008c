"""The machine and the versions of a measurement."""

import datetime
import os
import platform
import re
import time
from pathlib import Path

from benchmarks.engine import docker
from benchmarks.stack import Stack

PACKAGES = ("django", "djangorestframework", "uwsgi", "gunicorn", "granian")
# Prints "name version" lines, in the image that has all the servers.
PACKAGE_VERSIONS = (
    "import platform, sys; from importlib.metadata import version; "
    "print('python', platform.python_version()); "
    "[print(name, version(name)) for name in sys.argv[1:]]"
)
WATCH_SECONDS = 2


def machine_facts(engine_version: str) -> dict[str, str | int | float]:
    """Return date, size and load of this machine, and the version of the engine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "engine": engine_version,
        "busy_before": busy_share(),
    }


def busy_share() -> float:
    """Return the share of busy CPU time, 0 to 1; 0 if it is unknown."""
    if not Path("/proc/stat").exists():
        return 0.0
    before = _cpu_ticks()
    time.sleep(WATCH_SECONDS)
    total, idle = (now - then for now, then in zip(_cpu_ticks(), before, strict=True))
    return round(1 - idle / max(total, 1), 2)


def _cpu_ticks() -> tuple[int, int]:
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]


def versions(stack: Stack) -> dict[str, str]:
    """Return the versions of all measured programs."""
    servers = {
        "haproxy": _reported_version(stack.container("haproxy"), "haproxy -v"),
        "nginx": _reported_version(stack.container("server1"), "nginx -v"),
    }
    packages = ["exec", stack.container("gunicorn"), "python", "-c", PACKAGE_VERSIONS, *PACKAGES]
    return servers | dict(line.split() for line in docker(packages).splitlines())


def _reported_version(container: str, command: str) -> str:
    output = docker(["exec", container, "sh", "-c", f"{command} 2>&1"])
    match = re.search(r"\d+\.\d+[\w.]*", output)
    return match[0] if match else "?"
