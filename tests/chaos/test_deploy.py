"""New releases while visitors are there."""

import subprocess
import sys

from tests.chaos.conftest import check_nothing_lost
from tests.chaos.load import Load
from tests.stack.compose import Stack
from tests.stack.test_live_edit import edited


def stackctl(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ./stackctl on this stack and return how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "stackctl_cli", *arguments],
        cwd=stack.tree,
        env={**stack.environment, "COMPOSE_PROJECT_NAME": stack.project},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )


def released(stack: Stack) -> set[str]:
    """Return the releases that answer."""
    return {stack.profile()["release"] for _ in range(6)}


def test_a_deploy_and_a_rollback_lose_nothing(loaded: Stack, load: Load) -> None:
    (before,) = released(loaded)
    module = loaded.tree / "api" / "profile.py"
    with load:
        load.warm_up()
        with edited(module, '"""What this process', '"""The next release: what this process'):
            done = stackctl(loaded, "deploy", "--release", "next")
        assert done.returncode == 0, done.stdout[-3000:]
        assert released(loaded) == {"next"}
        back = stackctl(loaded, "rollback")
        assert back.returncode == 0, back.stdout[-3000:]
        assert released(loaded) == {before}

    print(load.summary())
    check_nothing_lost(load, loaded)
