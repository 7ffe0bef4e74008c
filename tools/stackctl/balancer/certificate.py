"""HAProxy's certificate: is it right, and into its place for the next process.

haproxy/certificates does both, in a container of its own that may read the owner's key, so that
`docker compose up` says the same as stackctl does.
"""

from __future__ import annotations

from ..common import process
from ..common.faults import StackctlError
from ..docker import compose

SECONDS = 120.0


def check(project: compose.Project) -> str:
    """Return what there is to say of the certificate.

    Raises:
        StackctlError: it cannot be used, and why.
    """
    return _run(project, "check", "HAProxy cannot use the certificate")


def install(project: compose.Project) -> str:
    """Put the certificate to where HAProxy's next process reads it; return what there is to say.

    Raises:
        StackctlError: it cannot be used, and why; what HAProxy has stays.
    """
    return _run(
        project,
        "install",
        "HAProxy cannot use the certificate; nothing was changed, the previous one is in use",
    )


def _run(project: compose.Project, command: str, problem: str) -> str:
    result = process.run(
        *("docker", "compose", "--project-name", project.name, "--progress", "quiet"),
        *("run", "--rm", "--no-deps", "-T", compose.CERTIFICATES, command),
        seconds=SECONDS,
    )
    words = result.out.strip()
    if not result.ok:
        why, _, hint = words.partition("\n")
        raise StackctlError(f"{problem}: {why or result.err.strip()}", hint)
    return words
