"""Check the response of every target before the measurement."""

import json
from pathlib import Path

from benchmarks.engine import docker
from benchmarks.release import ReleaseStack
from benchmarks.stack import Stack
from benchmarks.targets import PROFILE_PATH, Target

PROBE = Path(__file__).with_name("probe.py")
START_SECONDS = 60
# A stylesheet of Django's admin, some 20 kB.
STATIC_FILE = "admin/css/base.css"
MANIFEST = "/srv/static/staticfiles.json"


class WrongAnswerError(Exception):
    """The response of a target is wrong, so its speed must not be measured."""


def static_path(stack: Stack | ReleaseStack) -> str:
    """Return the path of the static file with its hashed filename."""
    manifest = docker(["exec", stack.container("server1"), "cat", MANIFEST])
    return f"/static/{json.loads(manifest)['paths'][STATIC_FILE]}"


def target_url(stack: Stack, target: Target) -> str:
    """Return the URL of the target in its own network namespace."""
    path = static_path(stack) if target.static else PROFILE_PATH
    return f"http://127.0.0.1:{target.port}{path}"


def check_answer(stack: Stack, target: Target, url: str) -> None:
    """Wait until the target answers, and check the response.

    Raises:
        WrongAnswerError: not a 200, not the production settings, or not the static file.

    """
    command = [
        *(
            "run",
            "--rm",
            "--interactive",
            "--network",
            f"container:{stack.container(target.service)}",
        ),
        *("--entrypoint", "python", stack.image("production"), "-", url, str(START_SECONDS)),
    ]
    answer = json.loads(docker(command, text=PROBE.read_text(), timeout=START_SECONDS + 30))
    if answer["status"] == 200 and is_expected(target, answer["type"], answer["body"]):
        return
    raise WrongAnswerError(
        f"{target.title}: {url} answered {answer['status']}: {answer['body'][:200]!r}\n"
        f"{stack.last_lines(target.service)}"
    )


def is_expected(target: Target, content_type: str, body: str) -> bool:
    """Return whether a response with status 200 is the expected one."""
    if target.static:
        return content_type.startswith("text/css") and bool(body)
    return content_type == "application/json" and json.loads(body)["settings"] == "production"
