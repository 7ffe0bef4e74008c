"""What a bundle makes a container of: Dockerfile or Dockerrun.aws.json; nothing in their way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from tools.ebctl import dockerfile
from tools.ebctl.bundle import LARGEST_BYTES, Bundle
from tools.ebctl.lint.finding import Finding
from tools.ebctl.prebuilt import DOCKERRUN

# The platform would run it instead of the Dockerfile, and switch the instance's nginx off. AWS's
# guide names the first alone; the others are kept out as well.
COMPOSE = ("docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml")
# Newer than the buildx 0.12 of Amazon Linux 2023.
NEWER_FLAGS = ("--exclude=", "--parents")
# Images that only this project's own compose file makes.
LOCAL_IMAGE = re.compile(r"mysite-[a-z-]+")


def check(bundle: Bundle) -> Iterator[Finding]:
    """Yield what would keep the bundle from running, or run something else."""
    names = bundle.files
    for name in COMPOSE:
        if name in names:
            message = "Elastic Beanstalk would run it instead of the Dockerfile; export-ignore it"
            yield Finding(name, 0, message, "compose")
    yield from check_strays(bundle)
    if bundle.size and bundle.size > LARGEST_BYTES:
        message = f"the bundle has {bundle.size} bytes; {LARGEST_BYTES} is the most"
        yield Finding("bundle", 0, message, "too-long")
    if DOCKERRUN in names:
        yield from check_dockerrun(bundle)
    elif "Dockerfile" in names:
        yield from check_dockerfile(bundle)
    else:
        near = [name for name in names if name.lower() == "dockerfile"]
        hint = f" {near[0]} is written differently." if near else ""
        message = f"there is neither a Dockerfile nor a {DOCKERRUN} at the root.{hint}"
        yield Finding("bundle", 0, message, "no-container")


def check_strays(bundle: Bundle) -> Iterator[Finding]:
    """Yield files that never leave the machine, and the one that makes them leave it."""
    for name in bundle.files:
        parts = name.split("/")
        if parts[0] == ".git" or re.fullmatch(r"\.env(\.local|\.production)?", parts[-1]):
            yield Finding(name, 0, "it holds secrets or history, and would be sent", "stray")
    if ".ebignore" in bundle.files:
        message = "with it the eb client sends the whole folder, .env and .git too; remove it"
        yield Finding(".ebignore", 0, message, "stray")


def check_dockerfile(bundle: Bundle) -> Iterator[Finding]:
    """Yield what the platform, or its build, would refuse."""
    text = bundle.files["Dockerfile"].text
    lines = list(dockerfile.instructions(text))
    if not dockerfile.exposed(text):
        message = "no EXPOSE with a number; the platform ends the deploy. Write: EXPOSE 7999"
        yield Finding("Dockerfile", 0, message, "expose")
    images = [(line, words.split()[0]) for line, name, words in lines if name == "FROM" and words]
    if images and ("$" in images[0][1] or LOCAL_IMAGE.fullmatch(images[0][1])):
        message = f"the platform pulls {images[0][1]!r} as it is; name a public image"
        yield Finding("Dockerfile", images[0][0], message, "from")
    for line, name, words in lines:
        if name in ("COPY", "ADD") and words.startswith(NEWER_FLAGS):
            message = f"{words.split()[0]} is newer than the build of Amazon Linux 2023"
            yield Finding("Dockerfile", line, message, "syntax")
    if text.startswith("# syntax="):
        message = "the build would pull this syntax from a registry; leave the line out"
        yield Finding("Dockerfile", 1, message, "syntax")
    yield from check_copied(bundle, text)


def check_copied(bundle: Bundle, text: str) -> Iterator[Finding]:
    """Yield what a Dockerfile copies and the bundle, or .dockerignore, keeps away."""
    ignored = bundle.files.get(".dockerignore")
    for line, source in dockerfile.copied(text):
        path = source.strip("/").removeprefix("./")
        if path in ("", "."):
            continue
        inside = [name for name in bundle.files if matches(name, path)]
        if not inside:
            message = f"it copies {source}, which is not in the bundle"
            yield Finding("Dockerfile", line, message, "copy")
        elif ignored and all(is_ignored(name, ignored.text) for name in inside):
            message = f"it copies {source}, which .dockerignore keeps out"
            yield Finding("Dockerfile", line, message, "copy")


def matches(name: str, path: str) -> bool:
    """Return whether a file is what a pattern names, or below it."""
    return name == path or name.startswith(f"{path}/") or fnmatchcase(name, path)


def is_ignored(name: str, rules: str) -> bool:
    """Return whether .dockerignore keeps a file out; the last line that names it counts."""
    out = False
    for line in rules.splitlines():
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        pattern = rule.removeprefix("!").strip("/")
        anywhere = pattern.removeprefix("**/")
        parts = name.split("/")
        folders = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        hit = any(
            fnmatchcase(folder, pattern)
            or (pattern != anywhere and fnmatchcase(folder.split("/")[-1], anywhere))
            for folder in folders
        )
        out = not rule.startswith("!") if hit else out
    return out


def check_dockerrun(bundle: Bundle) -> Iterator[Finding]:
    """Yield what is wrong with a bundle that names a prebuilt image."""
    try:
        content: Any = json.loads(bundle.files[DOCKERRUN].text)
    except json.JSONDecodeError as error:
        yield Finding(DOCKERRUN, error.lineno, f"this is not JSON: {error.msg}", "dockerrun")
        return
    if not isinstance(content, dict) or str(content.get("AWSEBDockerrunVersion")) != "1":
        message = "AWSEBDockerrunVersion has to be 1: later ones are for other platforms"
        yield Finding(DOCKERRUN, 0, message, "dockerrun")
        return
    image = str((content.get("Image") or {}).get("Name", ""))
    if "Dockerfile" in bundle.files and image:
        message = "next to a Dockerfile it may name no image: the platform builds that"
        yield Finding(DOCKERRUN, 0, message, "dockerrun")
    elif not re.search(r"@sha256:[0-9a-f]{64}$", image):
        message = f"the image {image!r} has no digest: later instances may run another one"
        yield Finding(DOCKERRUN, 0, message, "dockerrun")
    if not content.get("Ports"):
        yield Finding(
            DOCKERRUN, 0, "Ports is missing: nginx does not know the container's port", "dockerrun"
        )
