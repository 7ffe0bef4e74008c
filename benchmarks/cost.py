"""What the serving containers use: CPU from their control groups, memory from the engine."""

import re
from collections.abc import Iterable

from benchmarks.engine import docker
from benchmarks.stack import Stack
from benchmarks.targets import SERVICES

# Control groups version 2, or 1. https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu
READ_CPU = "cat /sys/fs/cgroup/cpu.stat 2>/dev/null || cat /sys/fs/cgroup/cpuacct/cpuacct.usage"
BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def cpu_microseconds(stack: Stack, services: Iterable[str]) -> dict[str, float]:
    """Return the CPU time that each service's container has used since its start."""
    return {service: container_cpu(stack.container(service)) for service in services}


def container_cpu(identity: str) -> float:
    """Return the CPU time, in microseconds, that a container has used since its start."""
    return parse_cpu(docker(["exec", identity, "sh", "-c", READ_CPU]))


def parse_cpu(text: str) -> float:
    """Return microseconds from version 2's cpu.stat, or from version 1's nanoseconds."""
    if match := re.search(r"^usage_usec (\d+)$", text, re.MULTILINE):
        return float(match[1])
    return int(text) / 1000


def memory_mib(stack: Stack) -> dict[str, float]:
    """Return each container's memory as `docker stats` counts it: without the idle file cache."""
    command = ["stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemUsage}}"]
    names = {stack.container(service): service for service in SERVICES}
    lines = docker([*command, *names]).splitlines()
    fields = (line.split()[:2] for line in lines)
    return {names[identity]: parse_mib(size) for identity, size in fields}


def parse_mib(size: str) -> float:
    """Return "1.5GiB" in MiB."""
    match = re.fullmatch(r"([\d.]+)([A-Za-z]+)", size)
    if not match or match[2] not in BYTES:
        raise ValueError(f"not a size: {size!r}")
    return float(match[1]) * BYTES[match[2]] / BYTES["MiB"]
