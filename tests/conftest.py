"""What all container tests share: an engine, a browser, a fresh clone, the stacks, clearing up."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.stack.compose import STACK_NAME, Stack, docker, secret_environment
from tests.tree import copy_tree

HERE = Path(__file__).parent
NEED_AN_ENGINE = (HERE / "stack", HERE / "chaos", HERE / "browser")
NEED_A_BROWSER = (HERE / "browser",)
ENGINE_HELP = (
    "no Docker Engine answers (`docker info` and `docker compose version`). Install Docker Engine "
    "25 or newer with Compose 2.30 or newer, start it, then run: make test"
)
BROWSER_HELP = (
    "no Chromium is found (`chromium --version`). Install it, on Debian by "
    "`apt-get install chromium`, then run: make test"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take where the load tests' figures go."""
    parser.addoption("--reliability", help="the document to put the load tests' figures into")


def engine_answers() -> bool:
    """Tell whether containers can be run here."""
    try:
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            subprocess.run(command, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def chromium() -> str | None:
    """Return the path of this machine's own browser; none is downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this machine has no engine or browser for, unless it is required."""
    leave_out(items, NEED_AN_ENGINE, engine_answers, ENGINE_HELP)
    leave_out(items, NEED_A_BROWSER, chromium, BROWSER_HELP)


def leave_out(
    items: list[pytest.Item], folders: tuple[Path, ...], found: Callable[[], object], cure: str
) -> None:
    """Skip the tests in these folders if what they need is not found."""
    ours = [item for item in items if set(folders) & set(item.path.parents)]
    if not ours or found():
        return
    if os.environ.get("REQUIRE_STACK_TESTS"):
        pytest.exit(f"REQUIRE_STACK_TESTS is set, but {cure}", returncode=1)
    for item in ours:
        item.add_marker(pytest.mark.skip(reason=cure))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was left out, and how to get it."""
    skipped = [str(report.longrepr) for report in terminalreporter.getreports("skipped")]
    for kind, cure in (("container", ENGINE_HELP), ("browser", BROWSER_HELP)):
        if count := sum(cure in reason for reason in skipped):
            terminalreporter.write_line(
                f"LEFT OUT: {count} {kind} tests, because {cure}", yellow=True
            )


@pytest.fixture(scope="session")
def images_cleared_away() -> Iterator[None]:
    """Remove the tests' images at the end; the engine's build cache keeps what they are made of."""
    yield
    for image in docker("image", "ls", "--quiet", f"{STACK_NAME}-*").split():
        # One that a second test run in this clone uses stays.
        with suppress(subprocess.CalledProcessError):
            docker("image", "rm", "--force", image)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, images_cleared_away: None) -> Path:
    """A fresh clone, which a test may edit."""
    clone = copy_tree(tmp_path_factory.mktemp("clone"))
    # The local layer mounts it into containers, whose user is not the one who runs the tests.
    for folder in (clone, *clone.parents[:2]):
        folder.chmod(0o755)
    return clone


@pytest.fixture(scope="session")
def local(tree: Path) -> Iterator[Stack]:
    """The stack as plain `docker compose up` starts it."""
    yield from Stack(tree, "local").running()


@pytest.fixture(scope="session")
def production(tree: Path) -> Iterator[Stack]:
    """The production layer, without the redirect to https, which has no certificate here."""
    stack = Stack(tree, "production", DJANGO_SECURE_SSL_REDIRECT="false", **secret_environment())
    yield from stack.running()
