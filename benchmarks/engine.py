"""Commands to the Docker engine."""

import subprocess
from collections.abc import Mapping, Sequence


class EngineError(Exception):
    """A command failed; the message has its output."""


def docker(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    text: str | None = None,
    timeout: float = 60,
) -> str:
    """Run `docker ARGUMENTS`, and return its output.

    Args:
        arguments: what follows `docker`.
        env: the whole environment; without it this process's own.
        text: the command's standard input.
        timeout: seconds after which it is killed.

    Raises:
        EngineError: no client, no engine, or the command failed or timed out.

    """
    try:
        done = subprocess.run(
            ["docker", *arguments],
            env=env,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise EngineError("docker is not installed; the benchmark needs it") from None
    except subprocess.TimeoutExpired:
        command = " ".join(["docker", *arguments[:3]])
        raise EngineError(f"{command} ... did not end within {timeout:.0f} s") from None
    if done.returncode:
        output = (done.stderr or done.stdout).strip()
        raise EngineError(f"docker {arguments[0]} failed:\n{output[-4000:]}")
    return done.stdout


def require_engine() -> str:
    """Return the engine's version, or raise EngineError saying what is missing."""
    try:
        version = docker(["version", "--format", "{{.Server.Version}}"], timeout=10).strip()
        docker(["compose", "version"], timeout=10)
    except EngineError as error:
        raise EngineError(f"The benchmark needs Docker with Compose. {error}") from None
    return version
