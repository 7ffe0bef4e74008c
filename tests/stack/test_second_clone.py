"""A second clone with the same STACK_NAME cannot change the stack of the first."""

import subprocess
import sys
from pathlib import Path

from tests.stack.compose import Stack, docker
from tests.tree import copy_tree
from tests.waiting import eventually


def containers(stack: Stack) -> set[str]:
    """Return the running containers with their start times."""
    label = f"label=com.docker.compose.project={stack.project}"
    running = docker("ps", "--quiet", "--filter", label).split()
    return set(docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", *running).split("\n"))


def run_refused(clone: Stack, *command: str) -> str:
    """Run a stackctl command that must be refused, and return its message."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.stackctl", *command],
        cwd=clone.tree,
        env=clone.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_second_clone_cannot_use_or_remove_the_data(production: Stack, tmp_path: Path) -> None:
    """Refused by stackctl; plain Compose fails before the database starts."""
    second = Stack(copy_tree(tmp_path / "second"), "production")
    second.environment = production.environment
    before = containers(production)
    migrated = production.inspect("migrate", "{{.State.StartedAt}}")
    for command in (["down", "--volumes", "--yes"], ["deploy"], ["up"]):
        output = run_refused(second, *command)
        assert f"belongs to the folder {production.tree}" in output and "./stackctl adopt" in output
    assert containers(production) == before

    try:
        assert second.compose("up", "--detach", "--no-build", check=False).returncode
        output = second.logs("env-check")
        assert f"belongs to the clone in {production.tree}" in output
        assert str(second.tree) in output and "./stackctl adopt" in output
        assert production.inspect("migrate", "{{.State.StartedAt}}") <= migrated
        for service in ("db", "redis"):
            assert production.inspect(service, "{{.State.Status}}") == "created"
    finally:
        production.compose("up", "--detach", "--no-build")
    production.wait_for_both()
    # The worker, which had no broker, is up again too.
    eventually(
        lambda: production.get("/healthz").status_code == 200,
        seconds=90,
        what="the stack is healthy again",
    )
