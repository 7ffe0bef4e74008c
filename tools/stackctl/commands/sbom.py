"""`./stackctl sbom`: the packages of the image that runs, as a CycloneDX document."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..common.console import Console
from ..common.faults import ExitCode, StackctlError
from ..docker import engine
from ..updates import debian_packages, python_packages
from . import stack


def sbom(console: Console, output: str) -> dict[str, Any]:
    """Write the packages of the servers' image, or of the image that compose would start.

    Args:
        console: where progress is reported.
        output: a file; empty for standard output.

    Raises:
        StackctlError: there is no image yet, or the engine does not answer.
        OSError: the file cannot be written.
    """
    project = stack.load()
    container = project.containers().get(project.servers[0])
    image = container.image if container else engine.image_id(project.latest)
    if not image:
        raise StackctlError("no image of this stack is here yet", "./stackctl up builds it.")
    python_packages.install(console)
    with console.step("listing the packages of the image"):
        name = f"{project.image}:{engine.image_release(image)}"
        # Imported here: no other command needs the library.
        from ..updates.cyclonedx_document import document

        text = document(name, python_packages.installed(image), debian_packages.installed(image))
    if output:
        Path(output).write_text(text, encoding="utf-8")
        console.good(f"wrote {output}")
    else:
        sys.stdout.write(text)
    return {"code": int(ExitCode.OK)}
