"""Whether a registry has a newer image under the tag that a service runs."""

from __future__ import annotations

import json

from ..common import outputs, process
from ..common.faults import StackctlError
from ..docker import engine

_ANSWER_SECONDS = 60.0


def has_newer(name: str, image: str) -> bool:
    """Return whether a tag names another image now than the one that runs.

    Args:
        name: the image's name with its tag, as in the compose files.
        image: the id of the one that runs.

    Raises:
        StackctlError: the registry does not answer, or the image came from none.
    """
    listed = engine.docker("image", "inspect", "--format", "{{json .RepoDigests}}", image)
    with outputs.read("docker image inspect"):
        digests = {text.rpartition("@")[2] for text in json.loads(listed) or ()}
    result = process.run(
        *("docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", name),
        seconds=_ANSWER_SECONDS,
    )
    if not result.ok:
        words = result.err.strip().splitlines() or [f"exit code {result.code}"]
        raise StackctlError(
            f"its registry cannot be asked: {words[-1].removeprefix('ERROR: ')}",
            "Does this machine reach the registry? Has this user signed in there (docker login)?",
        )
    with outputs.read("docker buildx imagetools inspect"):
        present: str = outputs.mapping(result.out)["digest"]
    if not digests:
        raise StackctlError(
            "it was built on this machine, and not pulled from a registry", f"docker pull {name}"
        )
    return present not in digests
