"""What all container tests share: an engine, a fresh clone, and clearing up."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.stack.compose import STACK_NAME, docker
from tests.tree import copy_tree

HERE = Path(__file__).parent
NEED_AN_ENGINE = (HERE / "stack", HERE / "chaos", HERE / "eb")
SHARED_STACKS = ("local", "production", "loaded")
ENGINE_HELP = (
    "no Docker Engine answers (`docker info` and `docker compose version`). Install Docker Engine "
    "25 or newer with Compose 2.30 or newer, start it, then run: make test"
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


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to leave the container tests out where they are required."""
    if os.environ.get("REQUIRE_STACK_TESTS") and not engine_answers():
        pytest.exit(f"REQUIRE_STACK_TESTS is set, but {ENGINE_HELP}", returncode=1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the container tests out where there is no engine, unless they are required."""
    ours = [item for item in items if set(NEED_AN_ENGINE) & set(item.path.parents)]
    for item in ours:
        item.add_marker(pytest.mark.xdist_group(stack_of(item)))
    if not ours or engine_answers():
        return
    for item in ours:
        item.add_marker(pytest.mark.skip(reason=ENGINE_HELP))


def stack_of(item: pytest.Item) -> str:
    """Name what a container test shares with others, so that it is started only once.

    https://pytest-xdist.readthedocs.io/en/stable/distribution.html
    """
    shared = set(SHARED_STACKS) & set(getattr(item, "fixturenames", ()))
    return min(shared, default=item.path.stem)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was left out, and how to get it."""
    left_out = [
        report
        for report in terminalreporter.getreports("skipped")
        if ENGINE_HELP in str(report.longrepr)
    ]
    if left_out:
        terminalreporter.write_line(
            f"LEFT OUT: {len(left_out)} container tests, because {ENGINE_HELP}", yellow=True
        )


@pytest.fixture(scope="session")
def images_cleared_away() -> Iterator[None]:
    """Remove the tests' images at the end; the engine's build cache keeps what they are made of."""
    yield
    # By name: an identical image of another run is the same image under a name of its own.
    names = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{STACK_NAME}-*")
    for image in names.split():
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
