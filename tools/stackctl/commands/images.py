"""Images of optional parts that nothing else builds: a stack is started from images that exist."""

from __future__ import annotations

from ..common import process
from ..common.console import Console
from ..common.faults import StackctlError
from ..docker import compose, engine


def build_missing(project: compose.Project, console: Console) -> None:
    """Build each image of its own that a part has and that does not exist yet.

    Raises:
        StackctlError: one cannot be built.
    """
    for service, described in project.services.items():
        image = str(described.get("image", ""))
        ours = image.removesuffix(":latest") == project.image
        if ours or "build" not in described or described.get("scale", 1) == 0:
            continue
        if engine.image_id(image):
            continue
        with console.step(f"building the image of {service}"):
            result = process.follow(
                *("docker", "compose", "--progress", "plain", "build", service),
                on_line=console.detail,
                seconds=compose.BUILD_SECONDS,
            )
        if not result.ok:
            raise StackctlError(
                f"the image of {service} cannot be built; nothing was started",
                "The build's last lines are above.",
                output="\n".join(result.out.splitlines()[-30:]),
            )
