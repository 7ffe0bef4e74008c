"""Faults of the Dockerfile, of Dockerrun.aws.json, and of stray files."""

from dataclasses import replace

from tests.unit.ebctl_faults.bundles import (
    OWN,
    Fault,
    dockerfile,
    dockerrun,
    with_file,
    without,
)

# The number of a line added to the end of the Dockerfile.
AFTER_THE_DOCKERFILE = len(OWN.files["Dockerfile"].text.splitlines()) + 1

FAULTS: dict[str, Fault] = {
    "Dockerfile without EXPOSE": (
        dockerfile(lambda text: text.replace("EXPOSE 7999\n", "")),
        "expose",
        0,
        "EXPOSE 7999",
    ),
    "EXPOSE with a variable": (
        dockerfile(lambda text: text.replace("EXPOSE 7999\n", "EXPOSE $PORT\n")),
        "expose",
        0,
        "number",
    ),
    "first FROM is an image of the project": (
        dockerfile(lambda text: "FROM mysite-base\n" + text),
        "from",
        1,
        "mysite-base",
    ),
    "first FROM is a variable": (
        dockerfile(lambda text: "ARG BASE\nFROM $BASE\n" + text),
        "from",
        2,
        "$BASE",
    ),
    "COPY of a path outside the bundle": (
        dockerfile(lambda text: text + "COPY docs /docs\n"),
        "copy",
        AFTER_THE_DOCKERFILE,
        "not in the bundle",
    ),
    "COPY of a path in .dockerignore": (
        dockerfile(lambda text: text + "COPY .ebextensions /x\n"),
        "copy",
        AFTER_THE_DOCKERFILE,
        ".dockerignore",
    ),
    "syntax line": (
        dockerfile(lambda text: "# syntax=docker/dockerfile:1\n" + text),
        "syntax",
        1,
        "syntax",
    ),
    "COPY flag that is too new": (
        dockerfile(lambda text: text + "COPY --parents nginx /x\n"),
        "syntax",
        AFTER_THE_DOCKERFILE,
        "--parents",
    ),
    "Dockerfile with another name": (
        without("Dockerfile", dockerfile=OWN.files["Dockerfile"].text),
        "no-container",
        0,
        "dockerfile",
    ),
    "compose file": (
        with_file("docker-compose.yml", "services: {}\n"),
        "compose",
        0,
        "instead of",
    ),
    ".env file": (with_file(".env", "A=b\n"), "stray", 0, "secrets"),
    ".ebignore file": (with_file(".ebignore", "\n"), "stray", 0, "whole folder"),
    "bundle that is too large": (
        replace(OWN, size=600 * 1024 * 1024),
        "too-long",
        0,
        "bytes",
    ),
    "Dockerrun.aws.json with invalid JSON": (dockerrun('{\n"a": }\n'), "dockerrun", 2, "JSON"),
    "Dockerrun.aws.json for another platform": (
        dockerrun('{"AWSEBDockerrunVersion": 2}'),
        "dockerrun",
        0,
        "has to be 1",
    ),
    "image with a tag instead of a digest": (
        dockerrun('{"AWSEBDockerrunVersion": "1", "Image": {"Name": "a:1"}, "Ports": [{}]}'),
        "dockerrun",
        0,
        "digest",
    ),
    "image next to a Dockerfile": (
        with_file(
            "Dockerrun.aws.json",
            '{"AWSEBDockerrunVersion": "1", "Image": {"Name": "a"}, "Ports": [{}]}',
        ),
        "dockerrun",
        0,
        "next to a Dockerfile",
    ),
}
