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

# The number of a line that is added to the end of the Dockerfile.
AFTER_THE_DOCKERFILE = len(OWN.files["Dockerfile"].text.splitlines()) + 1

FAULTS: dict[str, Fault] = {
    "a Dockerfile without EXPOSE": (
        dockerfile(lambda text: text.replace("EXPOSE 7999\n", "")),
        "expose",
        0,
        "EXPOSE 7999",
    ),
    "an EXPOSE by a variable": (
        dockerfile(lambda text: text.replace("EXPOSE 7999\n", "EXPOSE $PORT\n")),
        "expose",
        0,
        "number",
    ),
    "a first image of the project's own": (
        dockerfile(lambda text: "FROM mysite-base\n" + text),
        "from",
        1,
        "mysite-base",
    ),
    "a first image by a variable": (
        dockerfile(lambda text: "ARG BASE\nFROM $BASE\n" + text),
        "from",
        2,
        "$BASE",
    ),
    "a copy of what is not sent": (
        dockerfile(lambda text: text + "COPY docs /docs\n"),
        "copy",
        AFTER_THE_DOCKERFILE,
        "not in the bundle",
    ),
    "a copy of what is kept out": (
        dockerfile(lambda text: text + "COPY .ebextensions /x\n"),
        "copy",
        AFTER_THE_DOCKERFILE,
        ".dockerignore",
    ),
    "a syntax of a registry's": (
        dockerfile(lambda text: "# syntax=docker/dockerfile:1\n" + text),
        "syntax",
        1,
        "syntax",
    ),
    "a flag that is too new": (
        dockerfile(lambda text: text + "COPY --parents nginx /x\n"),
        "syntax",
        AFTER_THE_DOCKERFILE,
        "--parents",
    ),
    "a Dockerfile of another name": (
        without("Dockerfile", dockerfile=OWN.files["Dockerfile"].text),
        "no-container",
        0,
        "dockerfile",
    ),
    "a compose file": (
        with_file("docker-compose.yml", "services: {}\n"),
        "compose",
        0,
        "instead of",
    ),
    "a .env": (with_file(".env", "A=b\n"), "stray", 0, "secrets"),
    "an .ebignore": (with_file(".ebignore", "\n"), "stray", 0, "whole folder"),
    "a bundle that is too large": (
        replace(OWN, size=600 * 1024 * 1024),
        "too-long",
        0,
        "bytes",
    ),
    "a Dockerrun that is no JSON": (dockerrun('{\n"a": }\n'), "dockerrun", 2, "JSON"),
    "a Dockerrun of another platform": (
        dockerrun('{"AWSEBDockerrunVersion": 2}'),
        "dockerrun",
        0,
        "has to be 1",
    ),
    "an image by its tag": (
        dockerrun('{"AWSEBDockerrunVersion": "1", "Image": {"Name": "a:1"}, "Ports": [{}]}'),
        "dockerrun",
        0,
        "digest",
    ),
    "an image next to a Dockerfile": (
        with_file(
            "Dockerrun.aws.json",
            '{"AWSEBDockerrunVersion": "1", "Image": {"Name": "a"}, "Ports": [{}]}',
        ),
        "dockerrun",
        0,
        "next to a Dockerfile",
    ),
}
