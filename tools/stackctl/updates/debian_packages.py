"""Debian's packages of an image, and which have an update; asked in a container of the image."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..common import outputs, process
from ..common.faults import StackctlError
from ..docker import engine

APT_SECONDS = 300.0
NO_APT = 64
_SCRIPT = f"""command -v apt-get >/dev/null || exit {NO_APT}
apt-get -qq -o APT::Update::Error-Mode=any update >&2 && LC_ALL=C apt-get --simulate upgrade"""
# Inst libc6 [2.41-12] (2.41-12+deb13u1 Debian-Security:13/stable-security [amd64])
_UPDATE = re.compile(r"^Inst (\S+) \[(\S+)\] \((\S+) ([^)]*)\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Update:
    """A package with a newer version, and whether that fixes a security fault."""

    name: str
    old: str
    new: str
    security: bool


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package."""

    name: str
    version: str
    architecture: str


def installed(image: str) -> list[Package]:
    """Return the packages of an image.

    Raises:
        StackctlError: no container of the image starts, or it has no dpkg.
    """
    form = "${Package} ${Version} ${Architecture}\\n"
    listed = engine.docker(
        *("run", "--rm", "--quiet", "--network", "none", "--entrypoint", "dpkg-query"),
        *(image, "--show", "--showformat", form),
    )
    with outputs.read("docker run dpkg-query"):
        return [Package(*line.split()) for line in listed.splitlines()]


def updates(image: str) -> list[Update]:
    """Return the packages that `apt-get upgrade` would replace; none of an image without apt.

    Raises:
        StackctlError: no container of the image starts, or a package server does not answer.
    """
    # As root, whatever the image's user: apt writes its lists into the container, which is removed.
    result = process.run(
        *("docker", "run", "--rm", "--quiet", "--user", "0:0", "--entrypoint", "sh"),
        *(image, "-c", _SCRIPT),
        seconds=APT_SECONDS,
    )
    if result.code == NO_APT:
        return []
    if not result.ok:
        lines = [line for line in result.err.splitlines() if line.strip()]
        words = next((line for line in lines if line.startswith("E:")), (lines or [""])[-1])
        raise StackctlError(
            f"apt cannot ask for updates: {words or f'exit code {result.code}'}",
            "Does a container of this machine reach the package servers?",
        )
    return [
        Update(name, old, new, "security" in origin.lower())
        for name, old, new, origin in _UPDATE.findall(result.out)
    ]
