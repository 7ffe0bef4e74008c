"""A bundle that names an image of a registry, so that instances pull it and build nothing.

https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/single-container-docker-configuration.html
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from tools.ebctl.bundle import Bundle
from tools.ebctl.dockerfile import exposed
from tools.ebctl.faults import EbctlError

DOCKERRUN = "Dockerrun.aws.json"
# The instance's own files, and what its hooks read; everything else is in the image.
FOLDERS = (".ebextensions", ".platform")
READ_BY_HOOKS = ("nginx/limits.sh",)
# [host[:port]/]path@sha256:digest https://github.com/distribution/reference
IMAGE = re.compile(
    r"(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::\d+)?/)?"
    r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[\w][\w.-]{0,127})?@sha256:[0-9a-f]{64}"
)
# The time of every entry, so that the same files make the same bundle.
EPOCH = (1980, 1, 1, 0, 0, 0)


def check_image(image: str) -> None:
    """Refuse a name that may mean another image tomorrow.

    Raises:
        EbctlError: it has no digest, or is no image's name.
    """
    if not IMAGE.fullmatch(image):
        raise EbctlError(
            f"{image!r} names no image by its digest, such as "
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/mysite@sha256:... "
            "`docker push` prints the digest, and `docker image inspect --format "
            "'{{index .RepoDigests 0}}' IMAGE` the whole name. A tag can move: instances that are "
            "started later would run something else."
        )


def dockerrun(image: str, port: int) -> str:
    """Return the file that says which image runs, and on which TCP port it listens."""
    content = {
        "AWSEBDockerrunVersion": "1",
        "Image": {"Name": image, "Update": "true"},
        "Ports": [{"ContainerPort": port}],
    }
    return json.dumps(content, indent=2) + "\n"


def write(source: Bundle, image: str, target: Path) -> None:
    """Write the bundle.

    Args:
        source: the project, whose .ebextensions, .platform and EXPOSE are used.
        image: the image's name with its digest.
        target: the .zip; an existing one is replaced atomically.

    Raises:
        EbctlError: the image has no digest, the project's Dockerfile exposes no port, or the
            target cannot be written.
    """
    check_image(image)
    ports = exposed(source.files["Dockerfile"].text) if "Dockerfile" in source.files else []
    if not ports:
        raise EbctlError("the project's Dockerfile has no EXPOSE with a number; write EXPOSE 7999.")
    files = [file for folder in FOLDERS for file in source.under(folder)]
    files += [(name, source.files[name]) for name in READ_BY_HOOKS if name in source.files]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            add(archive, DOCKERRUN, dockerrun(image, ports[0]).encode(), executable=False)
            for name, file in files:
                add(archive, name, file.content, executable=file.executable)
        part.replace(target)
    except OSError as error:
        raise EbctlError(
            f"{target} cannot be written: {error.strerror}. Choose another file: --output FILE"
        ) from None


def add(archive: zipfile.ZipFile, name: str, content: bytes, *, executable: bool) -> None:
    """Add a file to an archive, with mode 755 if it is executable, else 644."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = 3  # Unix, or the rights would not count
    entry.external_attr = (0o100755 if executable else 0o100644) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)
